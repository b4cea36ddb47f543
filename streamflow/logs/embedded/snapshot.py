"""Snapshots: the catalog on disk as of one frame, replaced in one step. Journals from that frame on complete it."""

from __future__ import annotations

from pathlib import Path

import google_crc32c
import orjson

from streamflow.logs.embedded.catalog import Catalog, Partition, Segment, make_topic
from streamflow.logs.embedded.files import replace_file
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import LogCorrupt

_MAGIC = b"streamflow snapshot 1\n"


def write_snapshot(path: Path, catalog: Catalog, *, durable: bool) -> None:
    """Replace the snapshot. The catalog's tails must be empty or in journals that are kept."""
    body = orjson.dumps(
        {
            "salt": catalog.salt,
            "seq": catalog.seq,
            "chain": catalog.chain,
            "topics": [
                {
                    "name": t.info.name,
                    "incarnation": t.info.incarnation,
                    "config": dict(t.info.config),
                    "partitions": [[p.start, p.end, [list(s) for s in p.segments]] for p in t.partitions],
                }
                for t in catalog.topics.values()
            ],
            "groups": {
                group: [[at.topic, at.partition, c.offset, c.metadata] for at, c in positions.items()]
                for group, positions in catalog.groups.items()
            },
            "producers": list(catalog.producers.items()),
            "garbage": catalog.garbage,
        }
    )
    replace_file(path, _MAGIC + google_crc32c.value(body).to_bytes(4, "little") + body, durable=durable)


def read_snapshot(path: Path) -> Catalog | None:
    """The catalog of the snapshot; None when there is none. Raises LogCorrupt."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    at = len(_MAGIC)
    body = data[at + 4 :]
    if data[:at] != _MAGIC or google_crc32c.value(body) != int.from_bytes(data[at : at + 4], "little"):
        raise LogCorrupt(
            f"{path}: the snapshot fails its check ({len(data)} bytes).",
            mend="Restore it from a copy of the log's folder; the records are in `topics` and `journal`.",
        )
    parts = orjson.loads(body)
    catalog = Catalog(salt=parts["salt"], seq=parts["seq"], chain=parts["chain"], garbage=parts["garbage"])
    catalog.producers = dict(parts["producers"])
    for t in parts["topics"]:
        topic = make_topic(t["name"], len(t["partitions"]), t["incarnation"], t["config"])
        topic.partitions = [_partition(*p) for p in t["partitions"]]
        catalog.topics[t["name"]] = topic
    for group, positions in parts["groups"].items():
        catalog.groups[group] = {TopicPartition(t, p): Committed(offset, note) for t, p, offset, note in positions}
    return catalog


def _partition(start: int, end: int, segments: list[list[object]]) -> Partition:
    return Partition(start=start, end=end, tail_base=end, segments=tuple(Segment(*s) for s in segments))  # type: ignore[arg-type]
