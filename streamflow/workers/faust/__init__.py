"""A worker under Faust: the only package that imports it.

Faust gives supervised agents (one a stage, fed with whole batches through a channel), timers and crontabs on an elected
leader, sensors, and a home for the user's own agents. Fetching, transactions, positions and state are the runtime's.
"""

from __future__ import annotations

from streamflow.workers.faust.app import app
from streamflow.workers.faust.codec import AvroCodec
from streamflow.workers.faust.committed import read_committed
from streamflow.workers.faust.timers import every

__all__ = ["AvroCodec", "app", "every", "read_committed"]
