"""Layouts of solver `gram` without a job that runs."""

from __future__ import annotations

from fedbus.algorithms import registry
from fedbus.algorithms.linear.layout import Layout, lay_out


def gram_layout(rows: int = 1000, **params: object) -> Layout:
    """The layout of a job of two parties with three columns each."""
    job = {
        "name": "test",
        "algorithm": "vertical-linear",
        "guest": {"party": "shop", "dataset": "rows", "label": "y"},
        "hosts": [{"party": "bank", "dataset": "rows"}],
        "params": params,
    }
    return lay_out(registry.parse(job), rows, {"shop": 3, "bank": 3})
