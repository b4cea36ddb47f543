"""Workflow documents: the model, the YAML loader, the Python builder, and what is wrong with a document."""

from streamflow.workflow.builder import Workflow
from streamflow.workflow.load import load, load_text
from streamflow.workflow.model import Connection, NodeEntry, WorkflowDocument
from streamflow.workflow.validate import validate

__all__ = ["Connection", "NodeEntry", "Workflow", "WorkflowDocument", "load", "load_text", "validate"]
