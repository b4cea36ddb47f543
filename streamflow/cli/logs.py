"""What a long-running command logs: events on stderr, one line each; libraries only when they have something to say."""

from __future__ import annotations

import logging
import os
import sys

from streamflow.cli.output import fail
from streamflow.sdk.events import LEVELS, prepare

_NOISY = ("aiokafka", "faust", "mode", "asyncio")


def configure() -> None:
    """Set logging up by STREAMFLOW_LOG_LEVEL (debug, info, warning, error; default warning).

    Kafka's client calls every reconnection an error. Below `info` its messages are left out: what matters of them comes
    as an event or an error of ours.
    """
    named = os.environ.get("STREAMFLOW_LOG_LEVEL", "warning").lower()
    if named not in LEVELS:
        fail(f"STREAMFLOW_LOG_LEVEL is {named!r}.", mend=f"Give one of {', '.join(LEVELS)}.", code=2)
    level = LEVELS[named]
    prepare(level, lambda: _configure(level))
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in _NOISY:
        logging.getLogger(name).setLevel(level if level <= logging.INFO else logging.CRITICAL)


def _configure(level: int) -> None:
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], sort_keys=False),
        ],
    )
