"""Columnar kernels that several node kinds share. Each works on whole frames; none knows a node's parameters."""
