"""Connectors: one folder per system outside the log. Node kinds in `nodes` place them in a workflow."""
