"""The rows of a step, cut where executions end between two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from streamflow.model.batch import ROW, WM, Batch
from streamflow.runtime.node_times import cut
from streamflow.runtime.seed import Segment


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows to push through the graph together, by the node whose output they enter as; then, if `ended` names one, an
    execution ends: by a marker at `offset` of the input of `node`, which stands before rank `rank` of the step. So does
    what is told to a gather (`grown`).
    """

    rows: Mapping[str, Batch]
    ended: str = ""
    node: str = ""
    offset: int = -1
    rank: int = 0
    grown: bytes = b""

    def watermark_ms(self) -> int | None:
        """The watermark at the last row, where it is known."""
        last = [b.frame[-1] for b in self.rows.values() if WM in b.frame.columns]
        return max(last, key=lambda row: int(row[ROW][0]))[WM][0] if last else None


def pieces_of(segments: Mapping[str, Sequence[Segment]]) -> list[Piece]:
    """Segments of one input, or of several in one order, by node: what is pushed at once, and what ends in between.

    An end stands right behind the row before it on its input.
    """
    ends: list[tuple[int, int, str, Segment]] = []  # rank, number of the input, node, segment
    rows: dict[str, Batch] = {}
    for number, (node, own) in enumerate(segments.items()):
        frames = [segment.rows.frame for segment in own if len(segment.rows)]
        if frames:
            whole = own[0].rows if len(own) == 1 else Batch(pl.concat(frames), own[0].rows.schema)
            rows[node] = whole
        rank = 0
        for segment in own:
            rank = int(segment.rows.frame[ROW][-1]) + 1 if len(segment.rows) else rank
            if segment.ended or segment.grown:
                ends.append((rank, number, node, segment))
    if not ends:
        return [Piece(rows)]
    ends.sort(key=lambda end: end[:2])
    *before, last = cut(rows, [rank for rank, *_ in ends])
    return [
        *(
            Piece(part, seg.ended, node, seg.at, rank, seg.grown)
            for part, (rank, _, node, seg) in zip(before, ends, strict=True)
        ),
        Piece(last),
    ]
