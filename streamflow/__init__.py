"""streamflow: workflows compiled into Kafka topics and columnar stream tasks, exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamflow.workflow.builder import Workflow

__version__ = "0.1.0"
__all__ = ["Workflow", "__version__"]


def __getattr__(name: str) -> object:
    """Load `Workflow` when it is asked for: `import streamflow` alone stays fast."""
    if name == "Workflow":
        from streamflow.workflow.builder import Workflow

        return Workflow
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
