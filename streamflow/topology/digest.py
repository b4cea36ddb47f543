"""A plan's id: the same for the same plan, on any machine, whichever folder the workflow lies in."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import orjson

from streamflow.topology.plan import Topology
from streamflow.topology.serialize import to_json

DIGEST_CHARS = 16


def digest(topology: Topology) -> str:
    """16 hexadecimal digits that change when anything that runs does."""
    plain = to_json(replace(topology, base_folder=""))
    return sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).hexdigest()[:DIGEST_CHARS]
