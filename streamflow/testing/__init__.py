"""The public test kit: what authors of workflows, nodes and logs test with.

`log_conformance` holds the tests that every Log must pass (it needs pytest); `faulty_log` wraps a Log with faults at
chosen calls.
"""
