"""What a party prepares for a job."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedbus.crypto import fixedpoint
from fedbus.datasets import DatasetSettings
from fedbus.errors import DataError
from parties.data.table import MAX_LABEL, Table
from parties.data.tables import Tables
from parties.policy import Policy
from parties.vertical.share import Prepared, Share, _digest, prepare, score_bits


@pytest.mark.parametrize("size", [1e-7, 0.3, 1.0, 50.0, 5e6, 1e12, MAX_LABEL * 0.999])
def test_scores_fit_with_room_whatever_the_label_s_unit(size: float) -> None:
    bits = score_bits(np.array([size, -size, size / 2]))
    # A thousand times the label fits, and the error of rounding is below 1e-10 of it.
    assert size * 1e3 < 2.0 ** (fixedpoint.MAX_BITS - bits)
    assert 2.0**-bits < size * 1e-10


def test_one_outlier_among_all_rows_that_a_table_may_have_fits() -> None:
    label = np.zeros(10_000_000)
    label[7] = 1e9
    fixedpoint.encode(-label[7] * 100, score_bits(label))


def test_signs_order_and_small_changes_do_not_show() -> None:
    label = np.random.default_rng(5).normal(size=1000)
    assert len({score_bits(part) for part in (label, -label, label[::-1], label * 1.001)}) == 1
    assert score_bits(np.zeros(3)) == 42


def table(name: str, rows: int) -> Table:
    features = np.random.default_rng(rows).normal(size=(rows, 2))
    return Table(name, [f"id{row}" for row in range(rows)], ("a", "b"), features, features[:, 0] + 1)


def changed(of: Table, **fields: Any) -> Table:
    parts = {"name": of.name, "ids": of.ids, "columns": of.columns, "features": of.features, "label": of.label}
    return Table(**{**parts, **fields})


def restart(begun: Tables, found: Tables) -> Prepared:
    """Prepare from a checkpoint of a job that began with other files than are found."""
    assert begun.test is not None
    positions, test_positions = np.array([7, 0, 3, 5]), np.array([4, 1])
    train = begun.train.take(positions)
    digests = _digest(train, begun.fit(train)), _digest(begun.test.take(test_positions))
    columns = {"shop": 3, "bank": 2}
    share = Share(b"key", 40, columns, *digests, positions, test_positions, np.zeros(3))
    session = SimpleNamespace(restore=share.to_map, party="shop", spec=SimpleNamespace(guest_party="shop"))
    return prepare(session, None, None, found, Policy())  # type: ignore[arg-type]


def test_unchanged_files_are_taken_up_again() -> None:
    tables = Tables(table("rows.csv", 8), table("held.csv", 5))
    prepared = restart(tables, tables)
    assert (prepared.features.shape, prepared.test_features is not None) == ((4, 3), True)
    assert prepared.test_label.shape == (2,)


@pytest.mark.parametrize("which", ["train", "test"])
@pytest.mark.parametrize("change", ["features", "label", "shorter"])
def test_a_file_changed_before_a_restart_is_named(which: str, change: str) -> None:
    tables = Tables(table("rows.csv", 8), table("held.csv", 5))
    assert tables.test is not None
    old = tables.train if which == "train" else tables.test
    assert old.label is not None
    row = 7 if which == "train" else 4
    features, label = old.features.copy(), old.label.copy()
    if change == "features":
        features[row, 1] += 1e-9
    if change == "label":
        label[row] += 1e-9
    new = changed(old, features=features, label=label)
    if change == "shorter":
        new = old.take(np.arange(row))
    found = Tables(new, tables.test) if which == "train" else Tables(tables.train, new)
    with pytest.raises(DataError, match=rf"{old.name}: the aligned rows changed since the job began"):
        restart(tables, found)


def test_what_the_party_file_makes_of_the_same_rows_is_held_to_what_the_job_began_with() -> None:
    rows = table("rows.csv", 8)
    features = rows.features.copy()
    features[3, 1] = np.nan
    rows, held_out = changed(rows, features=features), table("held.csv", 5)
    began, found = (
        Tables(rows, held_out, DatasetSettings("rows.csv", "id", missing=missing)) for missing in ("mean", "zero")
    )
    assert restart(began, began).missing.train == {"b": 1}
    with pytest.raises(DataError, match=r"rows.csv: the aligned rows changed .* what the party file makes of them"):
        restart(began, found)
