"""Choosing the signature of a function for the types of its arguments, and folding what is constant."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from streamflow.expressions import casts
from streamflow.expressions.failure import WRONG_TYPE, Fail
from streamflow.expressions.json_values import jsonify, narrow
from streamflow.expressions.kinds import TEMPORAL, accept, common, parameter, specified
from streamflow.expressions.signatures import Bound, Function, Implementation, Signature
from streamflow.expressions.tree import Call, Const, Failed, MakeList, MakeRecord, Node
from streamflow.model.types import ANY, BOOL, DOUBLE, LONG, NULL, STRING, Type, array_of, map_of

_NOT_JSON = TEMPORAL | {"bytes"}


class Mismatch(Exception):
    """No signature takes these arguments, or a value cannot become a wanted type."""


def convert(node: Node, wanted: Type, *, code: int = WRONG_TYPE) -> Node:
    """`node` as a value of `wanted` (null marks aside). Raises Mismatch."""
    if casts.same(node.type, wanted):
        return node
    if isinstance(node, Const) and node.value is None:
        return Const(wanted.optional(), None)
    bound = casts.narrowing(wanted, code) if node.type.kind == "any" else casts.widening(node.type, wanted)
    if bound is None:
        raise Mismatch
    return fold(Call(bound.type, "convert", bound, (node,)))


def apply(function: Function, args: Sequence[Node]) -> Node:
    """The call of a function; constant when all arguments are. Raises Mismatch."""
    args = [convert(a, ANY) if a.type.kind == "union" else a for a in args]
    fitting: list[tuple[Signature, list[str]]] = []
    for signature in function.signatures:
        specs = signature.specs(len(args))
        if specs is None:
            continue
        if all(_takes(spec, a.type, loose=False) for spec, a in zip(specs, args, strict=True)):
            return _bind(function, signature, specs, args)
        if all(_takes(spec, a.type, loose=True) for spec, a in zip(specs, args, strict=True)):
            fitting.append((signature, specs))
    if not fitting:
        raise Mismatch
    if function.dynamic is None and len(fitting) == 1:
        return _bind(function, *fitting[0], args)
    return _dynamic(function, fitting, args)


def _takes(spec: str, given: Type, *, loose: bool) -> bool:
    if given.kind == "any":
        # JSON has no dates and bytes: its texts are converted where the writer says so, with date(…) or bytes(…).
        return spec in ("any", "value") or (loose and not _NOT_JSON.intersection(re.split("[<>]", spec)))
    return spec == "any" or accept(spec, given) is not None


def _bind(function: Function, signature: Signature, specs: Sequence[str], args: Sequence[Node]) -> Node:
    nodes = [_argument(spec, a) for spec, a in zip(specs, args, strict=True)]
    if signature.alike:
        alike = [spec == specs[0] for spec in specs]
        widest = common([n.type for n, same in zip(nodes, alike, strict=True) if same])
        if widest is None:
            raise Mismatch
        nodes = [convert(n, widest) if same else n for n, same in zip(nodes, alike, strict=True)]
    nodes += [Const(specified(spec), value) for spec, value in signature.defaults(len(args))]
    bound = signature.bind([n.type for n in nodes])
    if signature.strict and any(map(_is_null, nodes)):
        return _null_of(bound.type.optional(), nodes)
    return fold(Call(bound.type, function.name, bound, tuple(nodes)))


def _is_null(node: Node) -> bool:
    return node.type.kind == "null" or (isinstance(node, Const) and node.value is None)


def _null_of(t: Type, args: Sequence[Node]) -> Node:
    """Null, as some argument always is; but the other arguments may fail, and that counts."""
    if all(isinstance(a, Const) for a in args):
        return Const(t, None)
    does = Implementation(py=lambda *_: None)
    bound = Bound(params=tuple(a.type for a in args), type=t, does=does, strict=False)
    return Call(t, "null", bound, tuple(args))


def _argument(spec: str, node: Node) -> Node:
    if spec in ("any", "value"):
        return convert(node, ANY) if spec == "any" else node
    if node.type.kind == "any":
        return convert(node, parameter(spec))
    wanted = accept(spec, node.type)
    return node if wanted is None else convert(node, wanted)


def _dynamic(function: Function, fitting: Sequence[tuple[Signature, list[str]]], args: Sequence[Node]) -> Node:
    """A call whose signature is chosen per item, because an argument is `any`."""
    results = {
        s.bind([_static(spec, a.type) for spec, a in zip(specs, args, strict=True)]).type.required()
        for s, specs in fitting
    }
    result = results.pop().optional() if len(results) == 1 else ANY
    if result.kind in ("array", "map", "record", "any") or any(s.nullable for s, _ in fitting):
        result = ANY if result.kind in ("array", "map", "record") else result
    nodes = [convert(a, ANY) for a in args]
    if function.dynamic is not None:
        py = function.dynamic
    else:
        py = _dispatcher(fitting, jsonify_result=result.kind == "any")
    strict = all(s.strict for s, _ in fitting)
    if strict and any(map(_is_null, nodes)):
        return _null_of(result.optional(), nodes)
    bound = Bound(params=(ANY,) * len(nodes), type=result, does=Implementation(py=py), strict=strict, fails=True)
    return fold(Call(result, function.name, bound, tuple(nodes)))


def _static(spec: str, given: Type) -> Type:
    if given.kind == "any" or spec in ("any", "value"):
        return specified(spec)
    return accept(spec, given) or specified(spec)


def kind_of(value: Any) -> Type:
    """The type of a JSON value."""
    plain = {
        bool: BOOL,
        int: LONG,
        float: DOUBLE,
        str: STRING,
        type(None): NULL,
        list: array_of(ANY),
        dict: map_of(ANY),
    }
    return plain[type(value)]


def _dispatcher(fitting: Sequence[tuple[Signature, list[str]]], *, jsonify_result: bool) -> Callable[..., Any]:
    def py(*values: Any) -> Any:
        for signature, specs in fitting:
            try:
                arguments = [_checked(spec, v) for spec, v in zip(specs, values, strict=True)]
            except Fail:
                continue
            arguments += [default for _, default in signature.defaults(len(values))]
            bound = _bound_for(signature, specs)
            found = bound.does.py(*arguments)
            if jsonify_result and found is not None:
                outward = jsonify(bound.type)
                return found if outward is None else outward(found)
            return found
        raise Fail(WRONG_TYPE)

    return py


_bounds: dict[tuple[int, int], Bound] = {}


def _bound_for(signature: Signature, specs: Sequence[str]) -> Bound:
    """A signature bound to what its specifications mean by themselves; signatures live as long as the process."""
    key = id(signature), len(specs)
    if key not in _bounds:
        types = [specified(s) for s in specs] + [specified(s) for s, _ in signature.defaults(len(specs))]
        _bounds[key] = signature.bind(types)
    return _bounds[key]


def _checked(spec: str, value: Any) -> Any:
    """A JSON value as the argument of a parameter. Raises Fail when it is not of that kind."""
    if spec in ("any", "value"):
        return value
    wanted = parameter(spec)
    if wanted.kind in ("long", "double") and type(value) is not int and type(value) is not float:
        raise Fail(WRONG_TYPE)
    if wanted.kind == "long" and type(value) is float:
        raise Fail(WRONG_TYPE)
    return narrow(wanted, WRONG_TYPE)(value)


def fold(node: Node) -> Node:
    """The node's value when all its parts are constant."""
    match node:
        case Call():
            if not all(isinstance(a, Const) for a in node.args):
                return node
            values = [a.value for a in node.args if isinstance(a, Const)]
            if node.bound.strict and None in values:
                return Const(node.type.optional() if node.type.kind != "any" else ANY, None)
            try:
                return typed(Const(node.type, node.bound.does.py(*values)))
            except Fail as fail:
                return Failed(node.type, fail.code)
        case MakeList() if all(isinstance(a, Const) for a in node.args):
            return Const(node.type, [a.value for a in node.args if isinstance(a, Const)])
        case MakeRecord() if all(isinstance(a, Const) for a in node.args):
            values = [a.value for a in node.args if isinstance(a, Const)]
            return Const(node.type, dict(zip(node.names, values, strict=True)))
        case _:
            return node


def typed(constant: Const) -> Const:
    """An `any` constant with the type that its value shows: scalars, and lists of one kind of scalar."""
    if constant.type.kind != "any":
        return constant
    value = constant.value
    found = kind_of(value)
    if found.kind in ("bool", "long", "double", "string", "null"):
        if type(value) is int and not -(2**63) <= value < 2**63:
            return constant
        return Const(found, value)
    if isinstance(value, list) and value:
        element = common([kind_of(v) for v in value])
        if element is not None and element.kind in ("bool", "long", "double", "string"):
            items = [float(v) if element.kind == "double" and v is not None else v for v in value]
            return Const(array_of(element), items)
    return constant


def optional_if(t: Type, *, nullable: bool) -> Type:
    return t if t.kind in ("any", "null") else replace(t, nullable=nullable)
