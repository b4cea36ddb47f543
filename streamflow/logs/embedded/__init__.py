"""The embedded log: a folder that is a log, with no server. Begin with `log.py` and `layout.py`."""

from streamflow.logs.embedded.log import EmbeddedLog

__all__ = ["EmbeddedLog"]
