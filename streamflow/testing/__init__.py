"""The public test kit: what authors of workflows, nodes, logs and stores test with.

`log_conformance` and `state_conformance` hold the tests that every Log and every StateStore must pass (they need
pytest); `log_steps` has the steps that tests of logs are made of; `faulty_log` wraps a Log with faults at chosen calls.
"""
