"""Workflows of n8n become workflow documents: its exports, its JavaScript, its nodes, the YAML, and a report."""

from __future__ import annotations

from streamflow.workflow.n8n.model import Export
from streamflow.workflow.n8n.read import read_exports
from streamflow.workflow.n8n.settle import Imported, import_export

__all__ = ["Export", "Imported", "import_export", "read_exports"]
