"""The typed report: what travels becomes it, what `--json` writes comes from it, and the curves that are plotted."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

import fedbus
from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.report import AverageReport
from fedbus.algorithms.linear.report import Coefficient, LinearReport
from fedbus.errors import ProtocolError
from fedbus.report import KEPT_VALUES, Report

LINEAR: dict[str, Any] = {
    "job": "j",
    "name": "n",
    "algorithm": "vertical-linear",
    "state": "succeeded",
    "seconds": 1.5,
    "rows": {"shop": {"train": 9, "test": 0}},
    "rounds": 2,
    "epochs": 2,
    "converged": True,
    "loss": [2.0, None],
    "final_loss": 1.0,
    "train": {"mse": 1.0, "rmse": 1.0, "r2": None},
    "aligned_rows": 9,
    "round_latency_seconds": {"p50": 1.0, "p99": 2.0},
    "bytes_sent": {"shop": 1},
}
AVERAGE: dict[str, Any] = {
    **{
        key: LINEAR[key] for key in ("job", "state", "seconds", "rows", "rounds", "bytes_sent", "round_latency_seconds")
    },
    "algorithm": "fedavg",
    "ended": "all rounds are done",
    "loss": [3.0, 2.0],
    "test_loss": [4.0, 3.5, 3.0],
    "test": {"accuracy": 0.5, "auc": None, "undefined": {"auc": "one class"}},
    "took_part": {"bob": 2},
    "left_out": {},
    "clipped": {"bob": 0},
    "missing": [0, 1],
    "round_overhead_seconds": {"p50": 0.1, "p99": 0.1},
}


@pytest.mark.parametrize(("fields", "kind"), [(LINEAR, LinearReport), (AVERAGE, AverageReport)])
def test_what_travelled_is_what_is_written(fields: dict[str, Any], kind: type[Report]) -> None:
    report = registry.read_report(fields)
    assert type(report) is kind
    assert fields.items() <= report.to_map().items()
    assert registry.read_report(report.to_map()) == report


def test_what_a_newer_program_says_is_kept_and_written() -> None:
    newer = {**LINEAR, "carbon": {"shop": 2}}
    report = registry.read_report(newer)
    assert report.further == {"carbon": {"shop": 2}}
    assert report.joined({"ended": "converged"}).to_map()["carbon"] == {"shop": 2}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rows": "many"}, r"Expected `object`, got `str` - at `\$.rows`"),
        ({"loss": ["a"]}, r"at `\$.loss\[0\]`"),
        ({"train": {"mse": 1.0}}, "scores of a regression have mse, rmse and r2"),
        ({"coefficients": {"shop": {"a": {"federated": 1.0, "pooled": 1.0}}}}, "coefficients and no intercept"),
        ({"algorithm": "other"}, "its algorithm 'other' is none that this program has"),
    ],
)
def test_what_is_no_report_is_refused_with_the_place(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        registry.read_report({**LINEAR, **changes})


@pytest.mark.parametrize("fields", [LINEAR, AVERAGE])
def test_a_success_lacks_nothing_that_is_shown(fields: dict[str, Any]) -> None:
    for name in registry.named()[fields["algorithm"]].report.NEEDED:
        lacking = {key: value for key, value in fields.items() if key != name}
        with pytest.raises(ProtocolError, match=f"{name} is missing.*fedbus show"):
            registry.read_report(lacking)
        if name != "job":
            # Of a job that failed little may be known.
            registry.read_report({**lacking, "state": "failed"})


def test_of_a_job_that_failed_only_what_came_about_is_written() -> None:
    failed = LinearReport(job="j", state="failed", reason="why", seconds=1.0, rounds=3)
    assert failed.to_map() == {"job": "j", "state": "failed", "reason": "why", "seconds": 1.0, "rounds": 3}


def test_a_success_says_also_what_is_nothing() -> None:
    written = registry.read_report(LINEAR).to_map()
    assert (written["warnings"], written["dependent"], written["probe_rounds"]) == ([], {}, 0)
    assert not {"reason", "ended", "test", "metrics", "ids", "missing_cells", "further"} & set(written)


def test_fields_are_types() -> None:
    pair = {"federated": 1.0, "pooled": 2.0}
    report = registry.read_report({**LINEAR, "coefficients": {"shop": {"a": pair}}, "intercept": pair})
    assert isinstance(report, LinearReport)
    assert report.coefficients == {"shop": {"a": Coefficient(1.0, 2.0)}}
    assert report.rows["shop"].train == 9
    assert report.round_latency_seconds.p99 == 2.0


def test_a_curve_has_columns_of_one_length() -> None:
    curve = registry.read_report(LINEAR).curve()
    assert curve["round"] == [1, 2]
    assert curve["loss"][0] == 2.0
    assert math.isnan(curve["loss"][1])
    assert all(map(math.isnan, curve["test_loss"]))


def test_held_out_rows_are_measured_before_the_first_round() -> None:
    curve = registry.read_report({**AVERAGE, "epsilon": [0.5, 0.75]}).curve()
    assert curve["round"] == [0, 1, 2]
    assert curve["test_loss"] == [4.0, 3.5, 3.0]
    assert math.isnan(curve["loss"][0])
    assert (curve["loss"][1:], curve["missing"][1:], curve["epsilon"][1:]) == ([3.0, 2.0], [0, 1], [0.5, 0.75])


def test_a_list_that_was_cut_keeps_the_numbers_of_its_rounds() -> None:
    rounds = 5 * KEPT_VALUES
    curve = registry.read_report({**LINEAR, "rounds": rounds, "loss": [1.0] * (2 * KEPT_VALUES)}).curve()
    assert curve["round"] == [*range(1, KEPT_VALUES + 1), *range(rounds - KEPT_VALUES + 1, rounds + 1)]


def test_a_report_becomes_a_table() -> None:
    frame = registry.read_report(AVERAGE).to_frame()
    assert [*frame.columns] == ["round", "loss", "test_loss", "missing"]
    assert frame["round"].tolist() == [0, 1, 2]
    assert frame["test_loss"].iloc[-1] == 3.0


def test_without_pandas_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'fedbus\[notebook\]'"):
        registry.read_report(LINEAR).to_frame()


def test_importing_fedbus_is_light() -> None:
    code = (
        "import sys; before = set(sys.modules); import fedbus; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)); "
        "print(sorted(name for name in sys.modules if name.startswith('fedbus.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['fedbus']", "['fedbus.version']"]


def test_what_fedbus_offers_is_there() -> None:
    offered: Any = fedbus
    assert set(fedbus.__all__) <= set(dir(fedbus))
    assert all(getattr(offered, name) is not None for name in fedbus.__all__)
    with pytest.raises(AttributeError, match="module 'fedbus' has no attribute 'simulat'"):
        _ = offered.simulat
