"""What a task's database holds, compared with what its changelogs say."""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rocksdict import Rdict

from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import Log
from streamflow.state.changelog import decode_changes
from streamflow.state.rocks_folder import options


def entries_on_disk(folder: Path, stores: int) -> list[tuple[int, dict[bytes, bytes]]]:
    """(changelog offset, entries) of a task's stores; a copy is opened, so that nothing is changed."""
    if not folder.exists():
        return [(0, {})] * stores
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        copy = shutil.copytree(folder, Path(temporary, "copy"))
        base = Rdict(str(copy), options())
        for n in range(stores):
            at = base.get(bytes([2 * n]))
            entries = {key[1:]: value for key, value in base.items() if key[0] == 2 * n + 1}
            found.append((struct.unpack(">qq", at)[0] if at else 0, entries))
        base.close()
    return found


async def behind(log: Log, folder: Path, changelogs: Sequence[TopicPartition]) -> list[int]:
    """How far each store is behind its changelog, in offsets; fails if it is ahead, or holds anything else."""
    found = []
    for at, (position, entries) in zip(changelogs, entries_on_disk(folder, len(changelogs)), strict=True):
        end = (await log.offsets(at))[1]
        assert position <= end, f"{at}: the store is at {position}, only {end} is committed"
        assert entries == await _said(log, at, position), f"{at}: not what it says up to {position}"
        found.append(end - position)
    return found


async def _said(log: Log, at: TopicPartition, end: int) -> dict[bytes, bytes]:
    """What the records of a changelog below `end` come to."""
    entries: dict[bytes, bytes] = {}
    position = 0
    while position < end and (batches := await log.read(at, position, size_bytes_max=1 << 24)):
        for batch in batches:
            for offset, (key, value) in enumerate(decode_changes(batch), batch.base_offset):
                if offset < end and value is not None:
                    entries[key] = value
                elif offset < end:
                    entries.pop(key, None)
        position = batches[-1].last_offset + 1
    return entries
