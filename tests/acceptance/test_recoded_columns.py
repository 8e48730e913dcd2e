"""A federated model of missing cells, text and dates is that of the same columns made by hand and pooled."""

from __future__ import annotations

import csv
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedbus import codec
from fedbus.store.sqlite import SqliteStore
from federation import FAST, Federation
from rows import Rows

CITIES = ("Bonn", "Köln", "Trier")
ROWS, HELD_OUT = 60, 12


def write(folder: Path, held_out: bool, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Tables of both parties; the columns that a model has to see, in the order of the ids."""
    rows = HELD_OUT if held_out else ROWS
    age, income = random.normal(40, 9, rows), random.normal(3, 1, rows)
    days, city = random.integers(0, 9000, rows), random.choice(3, rows, p=[0.5, 0.3, 0.2])
    gap, hole = random.random(rows) < 0.2, random.random(rows) < 0.2
    noise = random.normal(scale=0.1, size=rows)
    label = 0.1 * age + np.where(hole, 2.0, income) + days / 3000 + np.array([0, 1, -2])[city] + noise
    name = "held" if held_out else "rows"
    shop = ["id,y,age,city"]
    bank = [",id,since,income"]
    for row in range(rows):
        years, thousands = "NA" if gap[row] else float(age[row]), "" if hole[row] else float(income[row])
        shop.append(f"k{row},{float(label[row])},{years},{CITIES[city[row]]}")
        day = np.datetime64(0, "D") + int(days[row])
        bank.append(f"{row},k{row},{day},{thousands}")
    (folder / f"shop_{name}.csv").write_text("\n".join([*shop, "only at the shop,1,-,Ulm", ",,,"]) + "\n")
    (folder / f"bank_{name}.csv").write_text("\n".join([bank[0], *bank[:0:-1]]) + "\n")
    return {"age": age, "gap": gap, "city": city, "days": days, "income": income, "hole": hole, "label": label}


def design(rows: dict[str, np.ndarray], train: dict[str, np.ndarray]) -> np.ndarray:
    age = np.where(rows["gap"], np.median(train["age"][~train["gap"]]), rows["age"])
    mean = train["income"][~train["hole"]].mean()
    cities = [rows["city"] == city for city in (1, 2)]
    filled = np.where(rows["hole"], mean, rows["income"])
    return np.column_stack([age, *cities, rows["days"], filled, rows["hole"], np.ones(len(age))]).astype(np.float64)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    for party, keys in (
        ("shop", 'missing = "median"\none_hot = ["city"]\n'),
        ("bank", 'missing = "indicator"\ndates = ["since"]\n'),
    ):
        text = f'name = "{party}"\nstate = "{party}.db"\nprocesses = 0\n'
        text += '[outputs]\nfolder = "private/predictions"\n'
        text += f'[datasets.rows]\nsource = "{party}_rows.csv"\nid = "id"\n{keys}'
        text += f'[datasets.held]\nsource = "{party}_held.csv"\nid = "id"\n'
        (tmp_path / f"{party}.toml").write_text(text)
    return Federation(tmp_path, "y", "shop", ["bank"], test="held", params={**FAST, "solver": "gram"})


def test_the_model_is_that_of_columns_made_by_hand(federation: Federation, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    train, test = write(tmp_path, False, random), write(tmp_path, True, random)
    report = federation.run()
    assert report["state"] == "succeeded"
    assert report["aligned_rows"] == ROWS
    exact, *_ = np.linalg.lstsq(design(train, train), train["label"], rcond=None)
    errors = {name: rows["label"] - design(rows, train) @ exact for name, rows in (("train", train), ("test", test))}
    assert report["train"]["mse"] == pytest.approx(np.mean(errors["train"] ** 2), rel=1e-4)
    assert report["test"]["mse"] == pytest.approx(np.mean(errors["test"] ** 2), rel=1e-3)
    assert report["pooled_test"]["mse"] == pytest.approx(report["test"]["mse"], rel=1e-3)
    assert list(report["coefficients"]["shop"]) == ["age", "city=Köln", "city=Trier"]
    assert list(report["coefficients"]["bank"]) == ["since", "income", "income__missing"]
    assert report["missing_cells"] == {"shop": int(train["gap"].sum()), "bank": int(train["hole"].sum())}
    assert report["missing_by_column"] == {
        "shop": {"age": report["missing_cells"]["shop"]},
        "bank": {"income": report["missing_cells"]["bank"]},
    }
    # One row at each side has no id, and one of the shop is in no other table.
    assert "left_out_rows" not in report
    with SqliteStore(tmp_path / "bank.db") as store:
        kept = codec.unpack(store.model(report["job"]) or b"")
    assert [column["name"] for column in kept["recoding"]] == ["since", "income"]
    assert kept["recoding"][1]["fill"] == pytest.approx(train["income"][~train["hole"]].mean())
    check_predictions(tmp_path, report, test)


def check_predictions(folder: Path, report: dict[str, Any], test: dict[str, np.ndarray]) -> None:
    """The guest alone wrote a file, and what it says gives the error of the report."""
    (file,) = folder.rglob(f"*{report['job']}.csv")
    assert file.parent == folder / "private" / "predictions"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert list(rows[0]) == ["id", "label", "score"]
    assert sorted(row["id"] for row in rows) == sorted(f"k{row}" for row in range(HELD_OUT))
    labels = {f"k{row}": label for row, label in enumerate(test["label"])}
    assert {row["id"]: float(row["label"]) for row in rows} == labels
    errors = [float(row["label"]) - float(row["score"]) for row in rows]
    assert np.mean(np.square(errors)) == pytest.approx(report["test"]["mse"], rel=1e-9)


def horizontal(folder: Path, name: str, random: np.random.Generator, keys: str) -> int:
    """A party with the same columns as the other: one with gaps, one of text; how many cells of the former are missing.

    Each party has a city that the other does not have.
    """
    gaps = 0
    for table, rows in (("rows", 40), ("held", 12)):
        age, city = random.normal(40, 9, rows), random.choice(["Bonn", "Köln", f"of {name}"], rows)
        gap = random.random(rows) < 0.25
        lines = ["id,y,age,city"]
        for row in range(rows):
            label = 1000.0 * (0.1 * age[row] + (city[row] == "Köln"))
            lines.append(f"{row},{label},{'NULL' if gap[row] else float(age[row])},{city[row]}")
        (folder / f"{name}_{table}.csv").write_text("\n".join(lines) + "\n")
        gaps += int(gap.sum()) if table == "rows" else 0
    sections = f'[datasets.rows]\nsource = "{name}_rows.csv"\nid = "id"\n{keys}'
    sections += f'[datasets.held]\nsource = "{name}_held.csv"\nid = "id"\n[outputs]\nfolder = "out_{name}"\n'
    (folder / f"{name}.toml").write_text(f'name = "{name}"\nstate = "{name}.db"\nprocesses = 0\n{sections}')
    return gaps


KEYS = 'missing = "indicator"\nindicators = ["age"]\nlevels = { city = ["Bonn", "Köln", "other"] }\n'


def test_parties_with_the_same_columns_recode_alike(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    gaps = {name: horizontal(tmp_path, name, random, KEYS) for name in ("bob", "alice")}
    rows = Rows(tmp_path, "y", ["bob", "alice"], tested=True, params={"rounds": 3, "learning_rate": 0.05})
    report = rows.run()
    assert report["state"] == "succeeded"
    assert report["missing_cells"] == gaps
    assert report["missing_by_column"] == {name: {"age": count} for name, count in gaps.items()}
    assert report["max_weight_difference"] < 1e-5
    found = []
    for name in ("bob", "alice"):
        (file,) = (tmp_path / f"out_{name}").iterdir()
        assert file.name == f"{report['job']}.csv"
        found += list(csv.DictReader(file.read_text().splitlines()))
        with SqliteStore(tmp_path / f"{name}.db") as store:
            kept = codec.unpack(store.model(report["job"]) or b"")
        assert kept["columns"] == ["age", "age__missing", "city=Köln", "city=other"]
        assert [column["name"] for column in kept["recoding"]] == ["age", "city"]
    errors = [float(row["label"]) - float(row["score"]) for row in found]
    best = report.get("best_test_mse", report["test_mse"])
    assert len(errors) == 24
    assert np.mean(np.square(errors)) == pytest.approx(best, rel=1e-6)


def test_levels_that_differ_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    horizontal(tmp_path, "bob", random, KEYS)
    horizontal(tmp_path, "alice", random, KEYS.replace("Köln", "of alice"))
    report = Rows(tmp_path, "y", ["bob", "alice"], tested=True).run()
    assert report["state"] == "failed"
    assert "the same columns, and column 3 is 'city=Köln' at bob, 'city=of alice' at alice" in report["reason"]


def test_a_folder_that_takes_no_predictions_is_named_at_once(federation: Federation, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    write(tmp_path, False, random)
    write(tmp_path, True, random)
    (tmp_path / "private").write_text("in the way")
    report = federation.run()
    assert report["state"] == "failed"
    assert f"outputs.folder: predictions of held-out rows cannot be written to {tmp_path}/private/" in report["reason"]
