"""A fault of the broker itself that a test must not take for one of ours.

Kafka 4.3.1, a single node, killed between the decision of a transaction and its markers: after the start partitions
have no leader for a moment, `KRaftMetadataCache.getPartitionLeaderEndpoint` gives nothing for them, and the transaction
coordinator takes that for a deleted topic, leaves the markers out and calls the transaction complete. The position in
it stays pending for ever (UNSTABLE_OFFSET_COMMIT), and readers of committed records stop before it. Seen in about one
of twenty kills with eight producers at work. docs/operations/kafka.md tells users.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streamflow.logs import KafkaLog, KafkaOptions
from streamflow.sdk.errors import LogUnavailable

_PATIENCE_MS = 10_000
_SIGN = "UNSTABLE_OFFSET_COMMIT"


@contextmanager
def excused(address: str) -> Iterator[None]:
    """Turn a failure within into an expected one, if the broker has lost markers by now."""
    try:
        yield
    except Exception as error:
        if _SIGN in str(error) or asyncio.run(_unstable(address)):
            pytest.xfail(f"the broker lost the markers of a transaction when it was killed: {error}")
        raise


async def _unstable(address: str) -> bool:
    """Whether a position stays pending although nobody is at work any more."""
    log = KafkaLog(address, options=KafkaOptions(retry_ms=_PATIENCE_MS))
    await log.open()
    try:
        for group, offsets in (await log.groups()).items():
            await log.committed(group, list(offsets))
    except LogUnavailable as error:
        return _SIGN in str(error)
    finally:
        await log.close()
    return False
