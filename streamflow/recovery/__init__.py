"""Executions that failed: begun anew, resumed, rolled back or undone, each dead letter once; by commands or policy."""
