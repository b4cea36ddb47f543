"""Reprocesses what the log remembers, the way the journal says it was processed."""
