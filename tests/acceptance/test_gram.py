"""Solver `gram` against exact least squares on the pooled data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from federation import Federation, held_out, motor, synthetic


def gram(federation: Federation, **params: object) -> Federation:
    """The same federation with solver `gram`."""
    federation.params = {"solver": "gram", "key_bits": 512, "insecure_for_tests": True, **params}
    return federation


@pytest.mark.parametrize("hosts", [1, 2])
def test_motor_reaches_the_exact_optimum_in_few_rounds(tmp_path: Path, hosts: int) -> None:
    report = gram(motor(tmp_path, hosts=hosts)).run()
    assert report["state"] == "succeeded", report
    assert report["converged"]
    assert report["rounds"] <= 25
    assert report["train"]["r2"] == pytest.approx(0.92339, abs=2e-5)
    assert report["train"]["rmse"] == pytest.approx(0.27925, abs=2e-5)
    assert report["max_coefficient_difference"] < 1e-4
    assert report["loss"] == sorted(report["loss"], reverse=True)
    assert report["loss"][-1] == pytest.approx(report["final_loss"], rel=1e-6)


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_small_tables_and_ridge(tmp_path: Path, hosts: int, l2: float) -> None:
    federation = gram(synthetic(tmp_path, hosts=hosts, rows=80), l2=l2)
    report = federation.run()
    assert report["state"] == "succeeded", report
    assert report["max_coefficient_difference"] < 1e-4
    assert report["train"]["mse"] == pytest.approx(report["pooled_train"]["mse"], rel=1e-5)


def test_more_precision_where_it_is_asked_for(tmp_path: Path) -> None:
    report = gram(motor(tmp_path), feature_bits=30, tolerance=1e-9).run()
    assert report["max_coefficient_difference"] < 1e-7


def test_held_out_rows_and_a_label_far_from_zero(tmp_path: Path) -> None:
    federation = gram(synthetic(tmp_path, rows=200))
    table = tmp_path / "shop.csv"
    lines = [line.split(",") for line in table.read_text().splitlines()]
    place = lines[0].index("y")
    moved = [[*row[:place], repr(1e6 + 1e-3 * float(row[place])), *row[place + 1 :]] for row in lines[1:]]
    table.write_text("\n".join(",".join(row) for row in [lines[0], *moved]) + "\n")
    held_out(federation, 30)
    report = federation.run()
    assert report["state"] == "succeeded", report
    assert report["max_coefficient_difference"] < 1e-6
    assert report["test"]["mse"] == pytest.approx(report["pooled_test"]["mse"], rel=1e-4)
    assert report["train"]["mse"] == pytest.approx(report["pooled_train"]["mse"], rel=1e-4)


def test_columns_that_depend_on_each_other_predict_as_well(tmp_path: Path) -> None:
    federation = gram(synthetic(tmp_path, rows=120))
    for name in ("shop", "bank"):
        table = tmp_path / f"{name}.csv"
        rows = [line.split(",") for line in table.read_text().splitlines()]
        doubled = [[*row, f"{row[-1]}x" if number == 0 else row[-1]] for number, row in enumerate(rows)]
        table.write_text("\n".join(",".join(row) for row in doubled) + "\n")
    report = federation.run()
    assert report["state"] == "succeeded", report
    assert report["train"]["mse"] == pytest.approx(report["pooled_train"]["mse"], rel=1e-5)


def test_a_label_without_variation(tmp_path: Path) -> None:
    federation = gram(synthetic(tmp_path, rows=60))
    table = tmp_path / "shop.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    place = rows[0].index("y")
    for row in rows[1:]:
        row[place] = "7"
    table.write_text("\n".join(",".join(row) for row in rows) + "\n")
    report = federation.run()
    assert report["state"] == "succeeded", report
    weights, intercept = federation.weights(report["job"])
    np.testing.assert_allclose(weights, 0, atol=1e-9)
    assert intercept == pytest.approx(7)


def test_no_tolerance_ends_where_rounding_begins(tmp_path: Path) -> None:
    report = gram(synthetic(tmp_path, rows=150), tolerance=0.0, feature_bits=20).run()
    assert report["state"] == "succeeded", report
    assert report["converged"]
    assert report["rounds"] < 40
    assert report["max_coefficient_difference"] < 1e-6


def test_a_perfect_fit_has_no_negative_error(tmp_path: Path) -> None:
    federation = gram(synthetic(tmp_path, rows=200))
    tables = {party: tmp_path / f"{party}.csv" for party in ("shop", "bank")}
    # Balanced, uncorrelated columns of -1 and 1: nothing is rounded, and the error is a difference of equal numbers.
    shop = [f"id{row},{2 * g - 3 * h + 4},{g},{h * g}" for row, g, h in _signs(200)]
    bank = [f"id{row},{h},{(-1) ** (row // 4)}" for row, _, h in _signs(200)]
    tables["shop"].write_text("\n".join(["id,y,a,b", *shop]) + "\n")
    tables["bank"].write_text("\n".join(["id,a,b", *bank]) + "\n")
    report = federation.run()
    assert report["state"] == "succeeded", report
    assert 0 <= report["train"]["mse"] < 1e-8
    assert report["train"]["r2"] == pytest.approx(1.0)


def _signs(rows: int) -> list[tuple[int, int, int]]:
    return [(row, (-1) ** row, (-1) ** (row // 2)) for row in range(rows)]


def test_a_column_that_is_a_sum_of_others_is_no_reason_for_large_weights(tmp_path: Path) -> None:
    federation = gram(synthetic(tmp_path, rows=2000), feature_bits=12)
    table = tmp_path / "bank.csv"
    header, *rows = [line.split(",") for line in table.read_text().splitlines()]
    summed = [[*row, repr(float(row[1]) + float(row[2]))] for row in rows]
    table.write_text("\n".join(",".join(row) for row in [[*header, "sum"], *summed]) + "\n")
    report = federation.run()
    assert report["state"] == "succeeded", report
    weights, _ = federation.weights(report["job"])
    assert np.abs(weights).max() < 3


def test_a_label_that_hardly_varies_is_refused(tmp_path: Path) -> None:
    federation = gram(synthetic(tmp_path, rows=60))
    table = tmp_path / "shop.csv"
    header, *rows = [line.split(",") for line in table.read_text().splitlines()]
    place = header.index("y")
    for row in rows:
        row[place] = repr(1e-9 * float(row[place]))
    table.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    report = federation.run()
    assert report["state"] == "failed"
    assert "shop.csv: the label varies by less than" in report["reason"]
