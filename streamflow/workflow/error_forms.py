"""What a node says of items that fail: forms of `retry` and `on_error`, read and described like a node's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from streamflow.model.policies import Backoff, BreakerPolicy, OnError, ParkingPolicy, RetryMode, RetryPolicy
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Json, param
from streamflow.sdk.params import BROKEN, RawParams, build_form, nearest, spell
from streamflow.sdk.places import Diagnostic, Place

RETRY_TOTAL_MS_MAX = 30_000  # half of Kafka's default transaction time-out: a transaction is open meanwhile
PARKED_MS_MAX = 365 * 86_400_000
_USUAL = ParkingPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkingForm:
    """How much may be put aside. What exceeds it is a dead letter (`parking_full`, in mode delay `delay_full`)."""

    key_items_max: int = param(default=_USUAL.key_items_max, ge=1, help="Items of one key.")
    key_bytes_max: int = param(default=_USUAL.key_bytes_max, ge=1, help="Bytes of the items of one key.")
    items_max: int = param(default=_USUAL.items_max, ge=1, help="Items of one task.")
    bytes_max: int = param(default=_USUAL.bytes_max, ge=1, help="Bytes of the items of one task.")

    @property
    def names_keys(self) -> bool:
        return (self.key_items_max, self.key_bytes_max) != (_USUAL.key_items_max, _USUAL.key_bytes_max)

    def policy(self) -> ParkingPolicy:
        return ParkingPolicy(
            key_items_max=self.key_items_max,
            key_bytes_max=self.key_bytes_max,
            items_max=self.items_max,
            bytes_max=self.bytes_max,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryForm:
    """How often an item that failed is tried again, and when."""

    attempts: int = param(default=1, ge=1, le=100, help="Tries in all; 1 means no retry.")
    delay_ms: int = param(default=0, ge=0, le=PARKED_MS_MAX, help="Wait before the second try.")
    backoff: Backoff = param(
        default="fixed",
        help="How waits grow: not at all, by `delay` each time, twofold each time; `random` draws each between `delay` "
        "and `delay_max`.",
    )
    delay_max_ms: int | None = param(default=None, ge=0, le=PARKED_MS_MAX, help="No wait is longer than this.")
    jitter: float = param(default=0.0, ge=0, le=1, help="Each wait is longer or shorter by up to this part of itself.")
    codes: tuple[str, ...] = param(
        default=(), help="Only items that failed with one of these error codes are tried again. Left out: all."
    )
    when: Expression | None = param(
        default=None,
        help="Only items for which this is true are tried again. It may name the item's fields, `error.code`, "
        "`error.message` and `error.attempt` (tries so far).",
    )
    limit_ms: int | None = param(
        default=None, ge=0, le=PARKED_MS_MAX, help="An item is given up before its waits together exceed this."
    )
    mode: RetryMode = param(
        default="block",
        help="`block`: everything behind the item waits with it. `park`: the item and what follows of its key are put "
        "aside and tried again later; other keys go on. `delay`: the item alone is put aside, and what follows "
        "of its key overtakes it.",
    )
    parking: ParkingForm | None = param(default=None, help="How much may be put aside; in mode delay by a task.")

    def __post_init__(self) -> None:
        if self.backoff == "random" and (self.delay_max_ms is None or self.delay_max_ms < self.delay_ms):
            raise ValueError("random waits lie between `delay` and `delay_max`: give a `delay_max` above `delay`.")
        if self.mode == "delay" and self.parking is not None and self.parking.names_keys:
            raise ValueError("mode delay knows no keys: `parking` has `items_max` and `bytes_max` there.")
        if self.mode != "block":
            return
        if self.parking is not None:
            raise ValueError("`parking` is for modes park and delay: add `mode: park`, or remove it.")
        longest_ms = self.policy().waits_ms_max
        if self.limit_ms is not None and self.limit_ms > RETRY_TOTAL_MS_MAX:
            raise ValueError(
                f"a limit of {self.limit_ms} ms is more than {RETRY_TOTAL_MS_MAX} ms, the longest that a transaction "
                "may wait. Lower it, or put items aside with `mode: park` or `mode: delay`."
            )
        if self.limit_ms is None and longest_ms > RETRY_TOTAL_MS_MAX:
            far = f"{self.delay_ms} ms apart" if self.backoff == "fixed" else f"with {self.backoff} waits"
            raise ValueError(
                f"{self.attempts} attempts {far} take longer than {RETRY_TOTAL_MS_MAX} ms, the "
                "longest that a transaction may wait. Use fewer attempts, a shorter delay or a `limit`, or put items "
                "aside with `mode: park` or `mode: delay`."
            )

    def policy(self) -> RetryPolicy:
        return RetryPolicy(
            attempts=self.attempts,
            delay_ms=self.delay_ms,
            backoff=self.backoff,
            delay_max_ms=self.delay_max_ms,
            jitter=self.jitter,
            codes=self.codes,
            when=self.when.text if self.when is not None else "",
            limit_ms=self.limit_ms,
            mode=self.mode,
            parking=self.parking.policy() if self.parking is not None else _USUAL,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerForm:
    """When items go to the fallback without being tried."""

    failures: int = param(ge=1, le=10_000, help="So many failures within `within` open the circuit.")
    within_ms: int = param(ge=1, le=PARKED_MS_MAX, help="How long a failure counts.")
    probe_after_ms: int = param(
        ge=1, le=PARKED_MS_MAX, help="How long after that one item is tried; if it does not fail, all are again."
    )

    def policy(self) -> BreakerPolicy:
        return BreakerPolicy(failures=self.failures, within_ms=self.within_ms, probe_after_ms=self.probe_after_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnErrorForm:
    """What takes the place of a node that fails."""

    fallback: Json = param(
        help="Node that takes items that failed here; or {value: {field: value, …}}: the item that leaves instead. "
        "Fields that are not given are those of the item that failed."
    )
    breaker: BreakerForm | None = param(default=None, help="When items go to the fallback without being tried.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """`on_error` as written. None: nothing sound was."""

    on_error: OnError | None = None
    fallback: str = ""
    value: Mapping[str, object] | None = None
    breaker: BreakerPolicy | None = None


def read_on_error(written: object, place: Place, raw: RawParams) -> tuple[Failing, list[Diagnostic]]:
    """`on_error: stop`, or `on_error: {fallback: …}`, which `raw` holds as a form."""
    if isinstance(written, Mapping):
        form, findings = build_form(OnErrorForm, raw, noun="key of on_error")
        if form is None:
            return Failing(), findings
        breaker = form.breaker.policy() if form.breaker is not None else None
        fallback = form.fallback
        if isinstance(fallback, str) and fallback:
            return Failing(on_error="error_port", fallback=fallback, breaker=breaker), findings
        if isinstance(fallback, Mapping) and set(fallback) == {"value"} and isinstance(fallback["value"], Mapping):
            return Failing(on_error="pass", value=dict(fallback["value"]), breaker=breaker), findings
        message = "on_error: expected {fallback: node} or {fallback: {value: {field: value, …}}}."
        return Failing(), [*findings, Diagnostic(place=raw.at("fallback"), code="SF112", message=message)]
    choices = get_args(OnError)
    found: OnError | None
    found = next((c for c in choices if c == written), None)
    if found is not None or written is BROKEN:
        return Failing(on_error=found), []
    near = nearest(written, choices) if isinstance(written, str) else ""
    message = f"on_error: {spell(written)} is none of {', '.join(choices)} or {{fallback: node}}."
    mend = f"Did you mean {near!r}?" if near else ""
    return Failing(), [Diagnostic(place=place, code="SF112", message=message, mend=mend)]
