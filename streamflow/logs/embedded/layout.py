"""Where everything lies in the folder, and the limits that hold for all of it.

```
<log>/
  lock                        flock: held while a commit is written, a few microseconds to milliseconds
  head                        memory-mapped: how far the journal is committed (head.py)
  snapshot                    topics, groups, producers and segment lists as of one frame (snapshot.py)
  journal/<first frame>.journal   commit frames since the snapshot: the truth (frame.py, journal.py)
  topics/<topic>/<incarnation>/<partition>/<base>.log, .index   older batches, copied out of the journal (segments.py)
  locks/<name>                one lock per running workflow
```
A batch is first written to the journal and read from there. When the journal has grown enough, a checkpoint copies the
batches to their segments, writes a snapshot that names those segments, and begins a new journal. The last journal is
kept for one more round, to mend segments from.
"""

from __future__ import annotations

from pathlib import Path

from streamflow.model.positions import TopicPartition

FRAME_BYTES_MAX = 256 << 20
RECORD_BATCH_BYTES_MAX = 64 << 20
PARTITIONS_MAX = 10_000  # of the whole log
PRODUCERS_MAX = 10_000  # transactional ids remembered; the one initialised longest ago is forgotten first
METADATA_BYTES_MAX = 4096  # of a committed position, as brokers have it (offset.metadata.max.bytes)
GROUP_NAME_BYTES_MAX = 1024
TRANSACTIONAL_ID_BYTES_MAX = 1024


class Layout:
    """Paths of one log."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "lock"
        self.head = root / "head"
        self.snapshot = root / "snapshot"
        self.journals = root / "journal"
        self.topics = root / "topics"
        self.locks = root / "locks"

    def make_folders(self) -> None:
        for folder in (self.root, self.journals, self.topics, self.locks):
            folder.mkdir(parents=True, exist_ok=True)

    def journal(self, first_seq: int) -> Path:
        return self.journals / f"{first_seq:020d}.journal"

    def journal_firsts(self) -> list[int]:
        """First frame numbers of the journals that exist, ascending."""
        return sorted(int(p.stem) for p in self.journals.glob("*.journal") if p.stem.isdigit())

    def topic(self, topic: str, incarnation: str) -> Path:
        return self.topics / topic / incarnation

    def partition(self, at: TopicPartition, incarnation: str) -> Path:
        return self.topics / at.topic / incarnation / str(at.partition)
