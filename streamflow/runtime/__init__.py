"""Runs a topology: tasks, transactions, executions, dead letters, accounting. Knows plans, never workflows."""
