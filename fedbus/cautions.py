"""What a report says first: sentences about a model that is worth less than the state `succeeded` suggests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.linear.spec import LinearJob

# Of R2: below the mean's own by no more than this is rounding.
_ROUNDING = 1e-9

_ROWS = {"train": "training", "test": "held-out"}


def caution(report: dict[str, Any]) -> None:
    """Add to a report's `warnings` what its figures warn of; those that are there already stay, each once.

    Whoever has more to say of a job enters its own sentences in `warnings` before. Of federated averaging, all is said
    there: its coordinator knows what a constant prediction would have reached.
    """
    found = [*report.get("warnings", ()), *_written_differently(report), *_not_kept(report), *_seen(report)]
    if report.get("algorithm") != AverageJob.ALGORITHM:
        found += [*_worse_than_the_mean(report), *_grown(report)]
    report["warnings"] = list(dict.fromkeys(found))


def many_weights(spec: LinearJob, rows: int, columns: Mapping[str, int]) -> list[str]:
    """What is to be known of a vertical job whose rows do not determine its weights.

    Args:
        rows: in common, or as many as can be.
        columns: that each party trains, the guest's with the intercept.
    """
    weights = sum(columns.values())
    if spec.params.l2 or weights < rows:
        return []
    least = "; gram finds the one of least norm" if spec.params.solver == "gram" else ""
    return [
        f"There are {weights} weights, the intercept among them, for {rows} common rows: models that differ fit these"
        f" rows equally well{least}. Trust the error on held-out rows only; set params.l2, or offer fewer columns."
    ]


def alike(rows: int, folded: int, kind: str = "rows") -> str:
    """That more rows would be in common if ids were written alike.

    Args:
        rows: in common.
        folded: in common if case, blanks, leading zeros and `.0` did not count.
    """
    return (
        f"{folded - rows:,} more {kind} would be in common, {folded:,} in place of {rows:,}, if case, blanks, leading "
        "zeros and a `.0` at the end of ids did not count: write the ids alike in all tables"
    )


def seen_in_training(party: str, count: int, rows: int) -> str:
    """That held-out rows are no new ones.

    Args:
        party: whose rows these are.
        count: held-out rows whose ids are ids of training rows.
        rows: held-out rows.
    """
    are = "is an id" if count == 1 else "are ids"
    return f"{count:,} of {rows:,} held-out ids {are} of training rows at {party}: scores on them are not of new rows."


def _seen(report: dict[str, Any]) -> list[str]:
    return [
        seen_in_training(party, count, report.get("aligned_test_rows", report["rows"][party]["test"]))
        for party, count in report.get("test_training_ids", {}).items()
    ]


def _written_differently(report: dict[str, Any]) -> list[str]:
    found = report.get("ids")
    return [f"{alike(found['common'], found['folded'])}."] if found else []


def _not_kept(report: dict[str, Any]) -> list[str]:
    return [
        f"{party} has the model, but could not write the predictions of its held-out rows: {told.get('reason', '')}."
        for party, told in report.get("predictions", {}).items()
        if not told["written"]
    ]


def _worse_than_the_mean(report: dict[str, Any]) -> list[str]:
    found = []
    for key, rows in _ROWS.items():
        scores = report.get(key, {})
        if "r2" not in scores:
            continue
        score = scores["r2"]
        if score is None:
            found.append(
                f"The label has the same value in all {rows} rows: there is nothing to explain, and R2 is undefined."
            )
        elif score < -_ROUNDING:
            found.append(
                f"The model predicts the {rows} rows worse than the mean of their label does (R2 {score:.4g}): "
                "do not use it."
            )
    return found


def _grown(report: dict[str, Any]) -> list[str]:
    losses = [loss for loss in report.get("loss", ()) if loss is not None]
    if not losses:
        return []
    first, last = losses[0], report.get("final_loss", losses[-1])
    if last <= first * (1 + _ROUNDING) and math.isfinite(last):
        return []
    return [
        f"The loss grew in training, from {first:.6g} to {last:.6g}: the model is worse than the one it began with."
    ]
