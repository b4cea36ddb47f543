"""Rows that failed: split them off and say which parameter failed and why.

Every node does this the same way, so that dead letters and error ports read alike whatever node wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, Batch
from streamflow.sdk.expression import ITEM_ERROR_CODES, ITEM_ERROR_TEXTS, Evaluated, Expression, Projection

_EXPRESSION_SHOWN_MAX = 120  # characters of an expression in a message


def failed_mask(errors: Mapping[str, pl.Series]) -> pl.Series:
    """True where any expression failed. `errors` is not empty."""
    series = list(errors.values())
    mask = series[0] != 0
    for more in series[1:]:
        mask = mask | (more != 0)
    return mask


def label(param: str, expression: Expression) -> str:
    """How messages name an expression: the parameter and the start of its text."""
    text = " ".join(expression.text.split())
    if len(text) > _EXPRESSION_SHOWN_MAX:
        text = text[: _EXPRESSION_SHOWN_MAX - 1] + "…"
    return f"{param} ({text})"


def failed_rows(batch: Batch, errors: Mapping[str, pl.Series], labels: Mapping[str, str]) -> Batch:
    """Rows of `batch` where an expression failed, with code and message of the first one (in the order of `labels`)."""
    mask = failed_mask(errors)
    codes = {name: series.filter(mask) for name, series in errors.items()}
    code, message = pl.lit(None, pl.String), pl.lit(None, pl.String)
    for name in reversed([n for n in labels if n in codes]):
        failed = pl.col(name) != 0
        text = pl.format("{}: {}", pl.lit(labels[name]), _named(name, ITEM_ERROR_TEXTS, "item failed"))
        code = pl.when(failed).then(_named(name, ITEM_ERROR_CODES, "failed")).otherwise(code)
        message = pl.when(failed).then(text).otherwise(message)
    said = pl.DataFrame(codes).select(code.alias(ERROR_CODE), message.alias(ERROR_MESSAGE))
    return batch.with_frame(batch.frame.filter(mask).with_columns(said.get_columns()))


def fail(batch: Batch, code: str, message: str | pl.Series) -> Batch:
    """All rows of `batch`, failed with this code and message (one for all, or one a row)."""
    text = message.alias(ERROR_MESSAGE) if isinstance(message, pl.Series) else pl.lit(message).alias(ERROR_MESSAGE)
    return batch.with_frame(batch.frame.with_columns(pl.lit(code).alias(ERROR_CODE), text))


def said(wrong: pl.Series, code: str, message: str) -> pl.DataFrame | None:
    """Code and message for each row, null where nothing is `wrong`; None: nowhere."""
    if not wrong.any():
        return None
    told = [pl.when(wrong).then(pl.lit(text)).alias(n) for n, text in ((ERROR_CODE, code), (ERROR_MESSAGE, message))]
    return pl.select(told)


def either(first: pl.DataFrame | None, second: pl.DataFrame | None) -> pl.DataFrame | None:
    """What `said` of two things: where both are wrong, the first."""
    if first is None or second is None:
        return second if first is None else first
    # Code and message stand or fall together.
    return first.select(pl.coalesce(pl.col(n), pl.lit(second[n])) for n in (ERROR_CODE, ERROR_MESSAGE))


def evaluate(
    batch: Batch, projection: Projection, labels: Mapping[str, str]
) -> tuple[Batch, pl.DataFrame, Batch | None]:
    """Run a projection: (rows that are fine, their values, rows that failed or None).

    `labels` names each expression of the projection in messages. Without failures the batch comes back as it is.
    """
    done = projection.run(batch.frame, batch.parsed)
    if not done.errors:
        return batch, done.values, None
    return split_failed(batch, done, labels)


def split_failed(batch: Batch, done: Evaluated, labels: Mapping[str, str]) -> tuple[Batch, pl.DataFrame, Batch | None]:
    """`evaluate` for a projection that has run already."""
    mask = failed_mask(done.errors)
    if not mask.any():
        return batch, done.values, None
    fine = ~mask
    return batch.where(fine), done.values.filter(fine), failed_rows(batch, done.errors, labels)


def without(batch: Batch, wrong: Mapping[int, tuple[str, str]]) -> tuple[Batch, Batch | None]:
    """(rows that are fine, rows that failed). `wrong`: code and message by row number in the batch, ascending."""
    if not wrong:
        return batch, None
    rows = pl.Series(list(wrong), dtype=pl.UInt32)
    fine = pl.repeat(True, len(batch), eager=True).scatter(rows, False)
    said = (
        pl.Series(ERROR_CODE, [code for code, _ in wrong.values()], dtype=pl.String),
        pl.Series(ERROR_MESSAGE, [text for _, text in wrong.values()], dtype=pl.String),
    )
    return batch.where(fine), batch.with_frame(batch.frame.filter(~fine).with_columns(said))


def join_failed(parts: list[Batch | None]) -> Batch | None:
    """Failed rows of several steps of one operator as one batch in the order of arrival."""
    given = [p for p in parts if p is not None and len(p)]
    if len(given) <= 1:
        return given[0] if given else None
    frame = pl.concat([p.frame for p in given], how="diagonal")
    return given[0].with_frame(frame.sort("@row", maintain_order=True))


def _named(column: str, names: Mapping[int, str], default: str) -> pl.Expr:
    return pl.col(column).cast(pl.Int64).replace_strict(dict(names), default=default, return_dtype=pl.String)
