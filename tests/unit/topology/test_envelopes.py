"""The schema files of the repository say what the code says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import fastavro
import pytest

from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.model.dead_letter import DEAD_LETTER
from streamflow.model.types import ANY, BYTES, LONG, STRING, record_of
from streamflow.topology.envelopes import FILES, ITEM_ERROR, error_schema, file_text, write_files

FOLDER = Path(__file__).parents[3] / "schemas"
UPDATE = bool(os.environ.get("STREAMFLOW_UPDATE_GOLDEN"))


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_schema_file_is_what_the_code_says(name: str) -> None:
    if UPDATE:
        write_files(FOLDER)
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert text == file_text(FILES[name]), "write it anew with STREAMFLOW_UPDATE_GOLDEN=1"
    fastavro.parse_schema(json.loads(text))
    assert schema_from_avro(text) == FILES[name]


def test_a_dead_letter_knows_no_clock() -> None:
    """A replay writes the same dead letters: their only time is that of the event."""
    assert [f.name for f in DEAD_LETTER.fields if f.type.kind == "timestamp"] == ["timestamp"]


def test_an_error_item_is_the_item_with_its_error() -> None:
    item = record_of({"a": LONG, "error": STRING, "b": STRING}, name="shop.Order")
    assert error_schema(item) == record_of({"a": LONG, "b": STRING, "error": ITEM_ERROR})
    assert error_schema(ANY) == ANY
    assert error_schema(BYTES) == record_of({"item": BYTES, "error": ITEM_ERROR})
