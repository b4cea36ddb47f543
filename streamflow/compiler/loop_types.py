"""Types a loop and its body: what comes back at the end of a round must be what may go into the next one.

The body is typed for what enters, then for that together with what comes back, and so on until nothing changes: numbers
become wider, fields nullable, fields that the body adds join those that entered. Findings count only of the last time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamflow.compiler.codes import LOOP_SCHEMA
from streamflow.compiler.graph import GraphNode
from streamflow.compiler.unify import Conflict, unify
from streamflow.model.types import Schema
from streamflow.sdk.places import Diagnostic, Place

if TYPE_CHECKING:
    from streamflow.compiler.typecheck import _Checker

TIMES_MAX: Final = 8
UNKNOWN_NAME: Final = "SF211"  # of expressions


def settle(checker: _Checker, loop: GraphNode) -> None:
    """Type a loop, and its body with all that is nested there."""
    body = [n for n in checker.graph.order if n in checker.graph.bodies[loop.id]]
    checker.back.pop(loop.id, None)
    held: list[Diagnostic] = []  # findings of the first time, which the second one repeats
    for times in range(TIMES_MAX):
        before = dict(checker.types), list(checker.findings), set(checker.tainted)
        checker.seen -= set(body)
        checker.node(loop)
        if times == 0 and not any(e.source in checker.tainted for e in checker.graph.into(loop.id)):
            # It may name fields that the body adds, of which nothing is known yet.
            held = [f for f in checker.findings[len(before[1]) :] if f.code != UNKNOWN_NAME]
            checker.findings, checker.tainted = list(before[1]), set(before[2])
        for node_id in body:
            if node_id not in checker.seen:
                checker.visit(node_id)
        checker.seen |= set(body)
        if loop.id not in checker.types or loop.id in checker.tainted:
            return
        entered = checker.types[loop.id].outputs["body"]
        joined = _join(checker, loop, entered)
        if joined is None:
            checker.findings += held if times == 0 else []
            return
        if joined == checker.back.get(loop.id):
            return
        if times == TIMES_MAX - 1:
            _report(
                checker,
                checker.graph.back_to(loop.id)[0].place,
                f"items come back to loop {loop.id!r} with another schema after each round.",
                "Let the body replace fields by values of the same type.",
            )
            return
        checker.types, checker.findings, checker.tainted = before
        checker.back[loop.id] = joined


def _join(checker: _Checker, loop: GraphNode, entered: Schema) -> Schema | None:
    """Schema of what enters together with what comes back; None where that is not known, or is wrong."""
    joined = entered
    for edge in checker.graph.back_to(loop.id):
        if edge.source in checker.tainted or edge.source not in checker.types:
            return None
        schema = checker.types[edge.source].outputs.get(edge.port)
        if schema is None:
            return None
        found = unify(joined, schema, lenient=True)
        if isinstance(found, Conflict):
            where = f"{loop.id}.body", f"{edge.start} ({edge.place})"
            _report(
                checker,
                edge.place,
                f"items come back to loop {loop.id!r} that do not fit those that entered: {str(found).format(*where)}.",
                "Let the body bring them back with the types that they entered with.",
            )
            return None
        joined = found
    return joined


def _report(checker: _Checker, place: Place, message: str, mend: str) -> None:
    checker.findings.append(Diagnostic(place=place, code=LOOP_SCHEMA, message=message, mend=mend))
