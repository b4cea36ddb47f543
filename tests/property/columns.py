"""By which way codecs go: few records are read and written one by one (see `test_few_records`), others in columns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamflow.codecs import few_records


@pytest.fixture(autouse=True, scope="module")
def in_columns() -> Iterator[None]:
    """Imported by a module whose tests are about the columnar ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_records, "FEW", 0)
        yield


@pytest.fixture(autouse=True, scope="module", params=["columns", "one by one"])
def both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """Imported by a module whose tests hold for both."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "columns":
            patch.setattr(few_records, "FEW", 0)
        yield
