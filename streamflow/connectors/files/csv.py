"""CSV: records cut by ourselves (so that one broken line costs one line), cells parsed by polars."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from streamflow.connectors.files.blocks import Piece, RecordBlocks, inside_quotes, record
from streamflow.connectors.files.formats import FileKind, open_file
from streamflow.connectors.files.reader import Chunk
from streamflow.model.types import Field, Schema, Type, polars_dtype
from streamflow.operators.dtypes import field_names
from streamflow.operators.fitting import default_value
from streamflow.sdk.errors import CodecError

CSV_KINDS = frozenset(
    (
        "bool",
        "int",
        "long",
        "float",
        "double",
        "string",
        "enum",
        "uuid",
        "date",
        "timestamp",
        "local",
        "decimal",
        "null",
    )
)
_NEWLINE = 0x0A


def read_header(blocks: RecordBlocks, delimiter: str) -> list[str]:
    """The titles in the first record."""
    piece = blocks.take(1)
    if not len(piece.ends):
        return []
    text = piece.data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    row = pl.read_csv(
        io.BytesIO(text.encode()), has_header=False, separator=delimiter, infer_schema=False, truncate_ragged_lines=True
    )
    return [v or "" for v in row.row(0)] if row.height else []


class CsvReader:
    """Rows of one CSV file as items of a record schema."""

    def __init__(
        self,
        path: Path,
        kind: FileKind,
        schema: Schema,
        position: int,
        *,
        null_values: Sequence[str] = (),
        header: bool = True,
    ) -> None:
        self._path, self._schema, self._delimiter = path, schema, kind.delimiter
        self._nulls = list(null_values)
        self._header_bytes = 0
        self._columns = [f.name for f in schema.fields]
        if header:
            head = RecordBlocks(open_file(path, kind), path, 0, quoted=True)
            titles = field_names(read_header(head, kind.delimiter))
            self._columns, self._header_bytes = titles, head.offset
            head.close()
            self._check(titles)
        self._blocks = RecordBlocks(open_file(path, kind), path, position or self._header_bytes, quoted=True)

    def _check(self, titles: list[str]) -> None:
        for field in self._schema.fields:
            if field.name not in titles and not (field.type.nullable or field.has_default) and titles:
                raise CodecError(
                    f"{self._path}: no column {field.name!r}; there is: {', '.join(titles)}.",
                    mend="Give the field a default in the schema, or let it be null.",
                )

    @property
    def position(self) -> int:
        return self._blocks.offset

    @property
    def done(self) -> bool:
        return self._blocks.done

    def close(self) -> None:
        self._blocks.close()

    def read(self, rows_max: int) -> Chunk:
        piece = self._blocks.take(rows_max)
        bad: list[tuple[int, str]] = []
        piece, kept = self._sound(piece, bad)
        bad_rows = [(record(self._whole, at), "undecodable", f"{self._path}: {why}") for at, why in bad]
        texts = self._cells(piece.data, len(kept))
        frame, wrong = to_types(texts, self._schema)
        if wrong is not None:
            for at, why in zip(wrong.arg_true(), self._explain(texts, frame, wrong), strict=True):
                bad_rows.append((record(piece, at), "undecodable", f"{self._path}: {why}"))
            frame = frame.filter(~wrong)
        return Chunk(frame, tuple(bad_rows))

    def _sound(self, piece: Piece, bad: list[tuple[int, str]]) -> tuple[Piece, np.ndarray]:
        """The records that have the right number of cells and are UTF-8; blank lines are no records."""
        self._whole = piece
        starts = np.concatenate(([0], piece.ends[:-1])) if len(piece.ends) else piece.ends
        lengths = piece.ends - starts
        raw = np.frombuffer(piece.data, np.uint8)
        separators = raw == ord(self._delimiter)
        if b'"' in piece.data:
            separators &= ~inside_quotes(raw)
        counts = np.add.reduceat(separators, starts, dtype=np.int64) if len(starts) else starts
        blank = (lengths <= 2) & np.isin(raw[starts], (_NEWLINE, 0x0D)) if len(starts) else np.empty(0, np.bool_)
        wrong = (counts != len(self._columns) - 1) & ~blank
        width = len(self._columns)
        bad.extend((int(at), f"the line has {counts[at] + 1} cells instead of {width}") for at in np.flatnonzero(wrong))
        fine = ~wrong & ~blank
        try:
            piece.data.decode("utf-8")
        except UnicodeDecodeError:
            for at in np.flatnonzero(fine):
                try:
                    record(piece, int(at)).decode("utf-8")
                except UnicodeDecodeError as error:
                    bad.append((int(at), f"the line is no UTF-8 text: {error.reason} at byte {error.start}"))
                    fine[at] = False
        if fine.all():
            return piece, np.flatnonzero(fine)
        kept = np.flatnonzero(fine)
        data = piece.data[:0].join(piece.data[starts[at] : piece.ends[at]] for at in kept)
        return Piece(data, np.cumsum(lengths[kept])), kept

    def _cells(self, data: bytes, rows: int) -> pl.DataFrame:
        dtypes = {name: pl.String() for name in self._columns}
        if not rows:
            return pl.DataFrame(schema=dtypes)
        frame = pl.read_csv(
            io.BytesIO(data),
            has_header=False,
            separator=self._delimiter,
            schema=dtypes,
            null_values=self._nulls or None,
            columns=None,
        )
        if frame.height != rows:
            raise CodecError(f"{self._path}: {rows} lines near byte {self.position:,} read as {frame.height} rows.")
        return frame

    def _explain(self, texts: pl.DataFrame, frame: pl.DataFrame, wrong: pl.Series) -> list[str]:
        said: list[str] = []
        bad_texts, bad_values = texts.filter(wrong), frame.filter(wrong)
        for at in range(bad_texts.height):
            for field in self._schema.fields:
                text = bad_texts[field.name][at] if field.name in bad_texts.columns else None
                if bad_values[field.name][at] is not None or (text is None and field.type.nullable):
                    continue
                if text is None:
                    said.append(f"{field.name} is empty, and the schema requires a value")
                else:
                    said.append(f"{field.name}: {text[:60]!r} is no {field.type.required()}")
                break
        return said


def to_types(texts: pl.DataFrame, schema: Schema) -> tuple[pl.DataFrame, pl.Series | None]:
    """Columns of a schema from columns of text: (frame, True where a cell does not fit, or None when all fit)."""
    columns = [
        (from_text(pl.col(f.name), f.type) if f.name in texts.columns else _absent(f)).alias(f.name)
        for f in schema.fields
    ]
    frame = texts.select(columns) if texts.height else texts.select(columns).head(0)
    wrong: pl.Series | None = None
    for field in schema.fields:
        given = texts[field.name].null_count() if field.name in texts.columns else texts.height
        now = frame[field.name].null_count()
        if field.name not in texts.columns or (now == given and (field.type.nullable or not now)):
            continue
        lost = frame[field.name].is_null()
        if field.type.nullable:
            lost = lost & texts[field.name].is_not_null()
        wrong = lost if wrong is None else wrong | lost
    return frame, wrong


def from_text(text: pl.Expr, t: Type) -> pl.Expr:
    """Values of a type from text; null where the text is none."""
    dtype = polars_dtype(t)
    if t.kind in ("string", "uuid"):
        return text
    if t.kind == "enum":
        return pl.when(text.is_in(list(t.symbols))).then(text)
    stripped = text.str.strip_chars()
    if t.kind == "bool":
        low = stripped.str.to_lowercase()
        return (
            pl.when(low.is_in(["true", "t", "1", "yes"]))
            .then(True)
            .when(low.is_in(["false", "f", "0", "no"]))
            .then(False)
        )
    if t.kind == "date":
        return stripped.str.to_date("%Y-%m-%d", strict=False)
    if t.kind in ("timestamp", "local"):
        return _instants(stripped, t)
    if t.kind == "null":
        return pl.lit(None, pl.Null())
    return stripped.cast(dtype, strict=False)


def _instants(text: pl.Expr, t: Type) -> pl.Expr:
    """ISO 8601 with T or a blank between, seconds' fractions, and Z, an offset or nothing (then UTC)."""
    plain = text.str.replace(" ", "T", literal=True)
    tail = plain.str.extract(r"(Z|[+-]\d{2}:?\d{2})$", 1)
    naive = plain.str.replace(r"(Z|[+-]\d{2}:?\d{2})$", "")
    at = pl.coalesce(
        naive.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False),
        naive.str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us", strict=False),
        naive.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False),
    )
    digits = tail.str.replace(":", "", literal=True)
    sign = pl.when(digits.str.starts_with("-")).then(-1).otherwise(1)
    minutes = digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(3, 2).cast(
        pl.Int64, strict=False
    )
    shift = pl.when(tail.is_null() | (tail == "Z")).then(0).otherwise(sign * minutes)
    if t.kind == "local":
        return at.cast(pl.Datetime(t.unit))
    return (at - pl.duration(minutes=shift)).cast(pl.Datetime(t.unit)).dt.replace_time_zone("UTC")


def _absent(field: Field) -> pl.Expr:
    return default_value(field)
