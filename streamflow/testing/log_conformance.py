"""What every Log must do, as tests. Needs pytest.

Subclass `LogConformance` in a test module and give it a fixture `make_log`: a function that returns a new, unopened Log
on the same storage each time it is called within a test.

    class TestMyLog(LogConformance):
        @pytest.fixture
        def make_log(self, tmp_path): return lambda: MyLog(tmp_path)

Topics and ids get names of their own in every test, so the storage may outlive one.
"""

from __future__ import annotations

from streamflow.testing.log_conformance_data import DataConformance
from streamflow.testing.log_conformance_transactions import TransactionConformance
from streamflow.testing.log_steps import MakeLog

__all__ = ["LogConformance", "MakeLog"]


class LogConformance(DataConformance, TransactionConformance):
    """Tests of the Log contract (`sdk.log`). Subclasses provide the fixture `make_log`."""
