"""Solver `gram` on columns that nearly depend on each other, or do, against least squares on the pooled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federation import Federation, add_party

NAMES = ("shop", "bank", "credit", "lender")


def tables(folder: Path, blocks: list[np.ndarray], label: np.ndarray, **params: Any) -> Federation:
    """A federation of these columns, a block for each party, the guest first."""
    for place, block in enumerate(blocks):
        name = NAMES[place]
        lines = [",".join(["id", *(["y"] if not place else []), *(f"{name[0]}{c}" for c in range(block.shape[1]))])]
        for row, values in enumerate(block):
            cells = [*([label[row]] if not place else []), *values]
            lines.append(",".join([f"u{row}", *(repr(float(cell)) for cell in cells)]))
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", "utf-8")
        add_party(folder, name, folder / f"{name}.csv", "id")
    given = {"key_bits": 512, "insecure_for_tests": True, **params}
    return Federation(folder, "y", "shop", list(NAMES[1 : len(blocks)]), params=given)


def errors(federation: Federation, blocks: list[np.ndarray], label: np.ndarray, job: str) -> tuple[float, float]:
    """Mean squared error of the shares that the parties keep, and R2 of it."""
    weights, intercept = federation.weights(job)
    columns = np.hstack([(block - block.mean(axis=0)) / block.std(axis=0) for block in blocks])
    mse = float(np.mean((columns @ weights + intercept - label) ** 2))
    return mse, 1 - mse / float(label.var())


def rides(seed: int = 7, rows: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Start and end in unix seconds over three years, a column of noise, and a label that is made of the duration."""
    random = np.random.default_rng(seed)
    start = 1.4e9 + np.floor(random.uniform(0, 9.5e7, rows))
    duration = np.floor(random.gamma(2.0, 300.0, rows))
    noise = random.normal(size=rows)
    return start, start + duration, noise, 0.02 * duration + noise + random.normal(scale=0.3, size=rows)


@pytest.mark.parametrize("delay", [1.0, 0.01, 0.001])
@pytest.mark.parametrize("parties", [2, 3])
def test_a_label_made_of_a_delay_far_below_the_rounding(tmp_path: Path, parties: int, delay: float) -> None:
    random = np.random.default_rng(3)
    start, delays, noise = rides()[0], random.gamma(2.0, delay / 2, 300), random.normal(size=300)
    label = 3 * delays / delay + 0.1 * random.normal(size=300)
    others = [random.normal(size=(300, 1)) for _ in range(parties - 2)]
    blocks = [start[:, None], np.column_stack([start + delays, noise]), *others]
    report = tables(tmp_path, blocks, label).run()
    assert report["state"] == "succeeded", report
    assert report["fraction_bits"] == 40
    assert report["pooled_train"]["r2"] > 0.99
    assert report["train"]["r2"] == pytest.approx(report["pooled_train"]["r2"], abs=1e-5)
    # Nine digits that the columns have in common are told in so many words where they cost anything.
    assert report["converged"] or "depend on each other so closely" in report["warnings"][0]
    assert report["converged"] or delay < 0.01


@pytest.mark.parametrize("parties", [2, 3, 4])
def test_columns_that_add_up_to_those_of_others_are_named_by_their_owners(tmp_path: Path, parties: int) -> None:
    random = np.random.default_rng(5)
    columns = random.normal(size=(parties, 200))
    columns[-1] = columns[:-1].sum(axis=0)
    own = random.normal(size=(parties, 200))
    label = 2 * columns[0] - own[1] + 0.1 * random.normal(size=200)
    blocks = [np.column_stack(pair) for pair in zip(columns, own, strict=True)]
    report = tables(tmp_path, blocks, label).run()
    assert report["state"] == "succeeded", report
    assert report["converged"]
    assert report["train"]["mse"] == pytest.approx(report["pooled_train"]["mse"], rel=1e-6)
    (warning,) = report["warnings"]
    assert "agree, or add up to each other, to about 12 digits, and count as dependent" in warning
    assert report["alike_columns"] == {name: [f"{name[0]}0"] for name in NAMES[:parties]}
    assert report["alike"] == dict.fromkeys(NAMES[:parties], 1)


def test_a_ridge_tells_columns_that_agree_what_to_do(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    both, own = random.normal(size=(2, 200))
    report = tables(tmp_path, [both[:, None], np.column_stack([both, own])], both + 0.1 * own, l2=0.01).run()
    assert report["converged"]
    assert report["warnings"] == []
    assert report["probe_rounds"] == 0
    assert report["max_coefficient_difference"] < 1e-8


def test_rounds_that_were_too_few_to_look_for_columns_that_agree_are_no_success(tmp_path: Path) -> None:
    # Orthogonal columns: the label meets three directions, and a fourth would show what is hidden.
    signs = np.ones((1, 1))
    for _ in range(6):
        signs = np.block([[signs, signs], [signs, -signs]])
    own, common, apart, other, third = signs.T[1:6]
    mixed = 0.5 * own + 0.8 * third
    blocks = [np.column_stack([own, common]), np.column_stack([common + 1e-9 * apart, other]), mixed[:, None]]
    label = own + common + apart
    folders = tmp_path / "few", tmp_path / "enough"
    for folder in folders:
        folder.mkdir()
    few = tables(folders[0], blocks, label, max_epochs=3).run()
    assert few["rounds"] == few["probe_rounds"] == 3
    assert few["train"]["r2"] == pytest.approx(2 / 3, abs=1e-6)
    assert not few["converged"]
    assert "3 rounds (params.max_epochs) were too few to find out" in few["warnings"][0]
    enough = tables(folders[1], blocks, label).run()
    assert enough["converged"], enough["warnings"]
    assert enough["train"]["r2"] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("l2", [0.0, 1e-13])
@pytest.mark.parametrize("parties", [2, 3, 4])
@pytest.mark.parametrize("where", ["one party", "across"])
def test_a_label_made_of_the_difference_of_two_unix_times(tmp_path: Path, where: str, parties: int, l2: float) -> None:
    start, end, noise, label = rides()
    others = [np.random.default_rng(party).normal(size=(len(label), 1)) for party in range(parties - 2)]
    if where == "one party":
        blocks = [np.column_stack([start, end]), noise[:, None], *others]
    else:
        blocks = [np.column_stack([start, noise]), end[:, None], *others]
    federation = tables(tmp_path, blocks, label, l2=l2)
    report = federation.run()
    assert report["state"] == "succeeded", report
    assert report["converged"], report["warnings"]
    assert report["pooled_train"]["r2"] > 0.99
    assert report["train"]["r2"] == pytest.approx(report["pooled_train"]["r2"], abs=1e-8)
    # What the report says is what the kept weights do.
    mse, _ = errors(federation, blocks, label, report["job"])
    assert report["train"]["mse"] == pytest.approx(mse, rel=1e-6)
    assert report["final_loss"] == pytest.approx(mse / 2, rel=1e-6)


def test_what_the_fixed_point_cannot_carry_is_said_and_more_bits_cure_it(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    common, apart, own = random.normal(size=(3, 300))
    blocks = [common[:, None], np.column_stack([common + 1e-8 * apart, own])]
    label = apart + 0.1 * random.normal(size=300)
    folders = tmp_path / "few", tmp_path / "many"
    for folder in folders:
        folder.mkdir()
    few = tables(folders[0], blocks, label, feature_bits=26).run()
    assert few["state"] == "succeeded"
    assert not few["converged"]
    assert few["lack"] > 1e-4
    (warning,) = few["warnings"]
    assert few["alike_columns"] == {"shop": ["s0"], "bank": ["b0"]}
    assert "depend on each other so closely" in warning
    assert "raise params.feature_bits to" in warning
    many = tables(folders[1], blocks, label, feature_bits=40)
    report = many.run()
    assert report["converged"], report["warnings"]
    assert report["train"]["r2"] == pytest.approx(report["pooled_train"]["r2"], abs=1e-5)
    assert report["condition"] > 1e7


def test_all_levels_of_a_code_at_both_parties(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    levels, other = np.eye(4)[random.integers(0, 4, 200)], random.normal(size=(200, 2))
    label = levels @ [1.0, 2.0, -1.0, 0.5] + other @ [1.0, -1.0] + 0.1 * random.normal(size=200)
    blocks = [np.column_stack([levels, other[:, :1]]), np.column_stack([other[:, 1:], levels])]
    federation = tables(tmp_path, blocks, label)
    report = federation.run()
    assert report["converged"]
    assert report["train"]["mse"] == pytest.approx(report["pooled_train"]["mse"], rel=1e-9)
    weights, _ = federation.weights(report["job"])
    assert np.abs(weights).max() < 3
    # Of each party's own: the report counts them, and where all tables are at hand it names them.
    assert report["alike"] == {"shop": 4, "bank": 4}
    assert report["dependent"] == {"shop": 1, "bank": 1}
    assert report["dependent_columns"] == {"shop": {"s3": ["s0", "s1", "s2"]}, "bank": {"b4": ["b1", "b2", "b3"]}}


def test_more_columns_than_rows_get_the_least_weights_and_a_warning(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    blocks, label = [random.normal(size=(24, 14)), random.normal(size=(24, 15))], random.normal(size=24)
    report = tables(tmp_path, blocks, label).run()
    assert report["state"] == "succeeded", report
    assert report["max_coefficient_difference"] < 1e-7
    assert "There are 30 weights, the intercept among them, for 24 common rows" in report["warnings"][0]


@pytest.mark.parametrize("l2", [1e7, 1e12])
def test_a_ridge_that_leaves_nothing_of_the_weights(tmp_path: Path, l2: float) -> None:
    start, end, noise, label = rides(rows=60)
    federation = tables(tmp_path, [np.column_stack([start, noise]), end[:, None]], label, l2=l2)
    report = federation.run()
    assert report["state"] == "succeeded", report
    assert report["converged"]
    assert report["max_coefficient_difference"] < 1e-9
    assert abs(report["train"]["r2"]) < 1e-6


def test_a_label_without_variation_is_a_model_and_a_sentence(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    report = tables(tmp_path, [random.normal(size=(40, 2)), random.normal(size=(40, 2))], np.full(40, 7.1)).run()
    assert report["state"] == "succeeded"
    assert report["loss"] == []
    assert report["train"]["r2"] is None
    assert "The label has the same value in all training rows" in report["warnings"][0]
