"""Avro schema JSON to the model's types and back.

What Avro says and a `Type` cannot: where null stands in its union (see `Node`), and unknown logical types (ignored,
as Avro asks). `any` is Avro bytes with logicalType `json`. Recursive schemas, decimals of more than 38 digits and
schemas beyond the bounds of `avronodes` are refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from streamflow.codecs.avronodes import DEPTH_MAX, NODES_MAX, parse
from streamflow.model.types import Field, Schema, Type
from streamflow.sdk.errors import SchemaError

NAME_DEFAULT: Final = "Item"
_PLAIN: Final = {
    "null": "null", "bool": "boolean", "int": "int", "long": "long", "float": "float", "double": "double",
    "string": "string", "bytes": "bytes",
}  # fmt: skip


def schema_from_avro(avro: object, *, what: str = "schema") -> Schema:
    """The type of an Avro schema given as JSON text or as parsed JSON. `what` names it in errors."""
    return parse(avro, what=what).type


def schema_to_avro(schema: Schema, *, name: str = "") -> dict[str, Any]:
    """The Avro JSON of a type. `name` is the full name of the outermost record, else its own or `Item`.

    Types without a name get one from where they stand (`Order_lines`); a name used for two different types gets a
    number.
    """
    avro = _Writer().type(schema.required(), name or schema.name or NAME_DEFAULT, override=name, depth=0)
    return avro if isinstance(avro, dict) else {"type": avro}


def canonical(avro: Any) -> str:
    """The parsing canonical form: equal for schemas that read the same bytes."""
    return str(to_parsing_canonical_form(fastavro.parse_schema(avro)))


def rabin(avro: Any) -> bytes:
    """The CRC-64-AVRO fingerprint of a schema, 8 bytes little-endian as single-object encoding stores it."""
    return bytes.fromhex(str(fingerprint(canonical(avro), "CRC-64-AVRO")))


def enum_default(t: Type) -> str | None:
    """The symbol that a reader takes for one it does not know."""
    field = t.field("default") if t.kind == "enum" else None
    return str(field.default) if field else None


def with_enum_default(t: Type, symbol: str) -> Type:

    return replace(t, fields=(Field(name="default", type=Type(kind="string"), default=symbol, has_default=True),))


class _Writer:
    def __init__(self) -> None:
        self.defined: dict[str, Type] = {}
        self.nodes = 0

    def type(self, t: Type, path: str, *, override: str = "", depth: int = 0, null_last: bool = False) -> Any:
        self.nodes += 1
        if self.nodes > NODES_MAX or depth > DEPTH_MAX:
            raise SchemaError(f"{path}: more than {NODES_MAX} types or nested deeper than {DEPTH_MAX}.")
        if t.kind == "union":
            branches = [self.type(b.required(), f"{path}_{b.kind}", depth=depth + 1) for b in t.branches]
        else:
            branches = [self.value(t, path, override, depth)]
        if not t.nullable or t.kind == "null":
            return branches if t.kind == "union" else branches[0]
        return [*branches, "null"] if null_last else ["null", *branches]

    def value(self, t: Type, path: str, override: str, depth: int) -> Any:
        if t.kind in _PLAIN:
            return _PLAIN[t.kind]
        if t.kind in ("record", "enum", "fixed") or t.size_bytes:
            return self.define(t, path, override, depth)
        match t.kind:
            case "any":
                return {"type": "bytes", "logicalType": "json"}
            case "uuid":
                return {"type": "string", "logicalType": "uuid"}
            case "date":
                return {"type": "int", "logicalType": "date"}
            case "time":
                base = "int" if t.unit == "ms" else "long"
                return {"type": base, "logicalType": "time-millis" if t.unit == "ms" else "time-micros"}
            case "timestamp" | "local":
                prefix = "local-" if t.kind == "local" else ""
                return {"type": "long", "logicalType": f"{prefix}timestamp-{'millis' if t.unit == 'ms' else 'micros'}"}
            case "decimal":
                return {"type": "bytes", "logicalType": "decimal", "precision": t.precision, "scale": t.scale}
        assert t.element is not None
        key = "items" if t.kind == "array" else "values"
        return {"type": t.kind, key: self.type(t.element, path, depth=depth + 1)}

    def define(self, t: Type, path: str, override: str, depth: int) -> Any:
        wanted = override or t.name or path
        full, number = wanted, 1
        while full in self.defined:
            if self.defined[full] == t.required():
                return full
            number += 1
            full = f"{wanted}_{number}"
        self.defined[full] = t.required()
        out: dict[str, Any] = {"type": "fixed", "name": full}
        if t.doc:
            out["doc"] = t.doc
        if t.aliases:
            out["aliases"] = list(t.aliases)
        if t.kind == "record":
            return out | {"type": "record", "fields": [self.field(f, full, depth) for f in t.fields]}
        if t.kind == "enum":
            out |= {"type": "enum", "symbols": list(t.symbols)}
            return out | ({} if enum_default(t) is None else {"default": enum_default(t)})
        out["size"] = t.size_bytes
        if t.kind == "decimal":
            out |= {"logicalType": "decimal", "precision": t.precision, "scale": t.scale}
        if t.kind == "uuid":
            out["logicalType"] = "uuid"
        return out

    def field(self, f: Field, parent: str, depth: int) -> dict[str, Any]:
        # Avro: a default is of the union's first branch, so a default that is not null puts null last.
        null_last = f.has_default and f.default is not None
        short = parent.rpartition(".")[2]
        out: dict[str, Any] = {
            "name": f.name,
            "type": self.type(f.type, f"{short}_{f.name}", depth=depth + 1, null_last=null_last),
        }
        if f.has_default:
            out["default"] = f.default
        if f.doc:
            out["doc"] = f.doc
        if f.aliases:
            out["aliases"] = list(f.aliases)
        return out
