"""Failed rows as items: of a node's error port, and as conditions of retries see them."""

from __future__ import annotations

import orjson
import polars as pl

from streamflow.model.batch import ERROR_ATTEMPT, ERROR_CODE, ERROR_MESSAGE, ERROR_NODE, Batch
from streamflow.model.types import PAYLOAD
from streamflow.topology.envelopes import error_schema

ERROR_COLUMNS = (ERROR_CODE, ERROR_MESSAGE, ERROR_NODE, ERROR_ATTEMPT)
_NAMES = {ERROR_CODE: "code", ERROR_MESSAGE: "message", ERROR_NODE: "node", ERROR_ATTEMPT: "attempt"}


def without_error(failed: Batch) -> Batch:
    """The rows as they came in."""
    return failed.with_frame(failed.frame.drop(ERROR_COLUMNS, strict=False))


def error_items(failed: Batch) -> Batch:
    """Failed rows as items of the error port: the item as it came in, with `error: {code, message, node}`."""
    frame = failed.frame.drop(ERROR_ATTEMPT, strict=False)
    error = _error(ERROR_CODE, ERROR_MESSAGE, ERROR_NODE)
    gone = [ERROR_CODE, ERROR_MESSAGE, ERROR_NODE]
    if failed.schema.kind == "record":
        return Batch(frame.with_columns(error.alias("error")).drop(gone), error_schema(failed.schema))
    if failed.schema.kind == "bytes":
        named = frame.rename({PAYLOAD: "item"}).with_columns(error.alias("error"))
        return Batch(named.drop(gone), error_schema(failed.schema))
    return Batch(frame.with_columns(_texts(frame, error)).drop(gone), failed.schema)


def tried_items(failed: Batch) -> pl.DataFrame:
    """Failed rows with all four error columns as conditions see them: the item with `error.attempt` as well."""
    error = _error(*ERROR_COLUMNS)
    if failed.schema.kind == "any":
        return failed.frame.with_columns(_texts(failed.frame, error))
    named = failed.frame if failed.schema.kind == "record" else failed.frame.rename({PAYLOAD: "item"})
    return named.with_columns(error.alias("error"))


def _error(*columns: str) -> pl.Expr:
    return pl.struct(pl.col(c).alias(_NAMES[c]) for c in columns)


def _texts(frame: pl.DataFrame, error: pl.Expr) -> pl.Series:
    """JSON items, each with its error."""
    texts: list[bytes] = []
    for item, row in zip(frame[PAYLOAD].to_list(), frame.select(error.alias("e"))["e"].to_list(), strict=True):
        value = orjson.loads(item) if item is not None else None
        texts.append(
            orjson.dumps({**value, "error": row} if isinstance(value, dict) else {"item": value, "error": row})
        )
    return pl.Series(PAYLOAD, texts, dtype=pl.Binary)
