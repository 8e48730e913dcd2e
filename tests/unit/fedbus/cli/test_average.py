"""`fedbus check` and `fedbus plan` of a job of federated averaging: what the files alone tell."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedbus.algorithms.fedavg.budget import Budget
from fedbus.cli import app
from fedbus.errors import ConfigError, JobRefused
from rows import Rows, synthetic

# The parties have 24, 28 and 32 rows, in batches of 8: bob draws his more often than the others draw theirs.
PRIVACY = "[privacy]\nnoise_multiplier = 8.0\ndelta = 1e-3\nepsilon = {}\n"


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return synthetic(tmp_path, tested=False, rounds=50)


def run(rows: Rows, command: str, *options: str, files: int = 3) -> Any:
    """What a command prints of a job and the files of its first parties; its error is raised."""
    rows.write_job()
    named = [word for file in rows.files[:files] for word in ("--party", str(file))]
    return invoke(command, str(rows.job_file), *named, *options)


def invoke(*arguments: str) -> Any:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result


def test_a_budget_that_allows_no_round_is_refused(rows: Rows) -> None:
    rows.more = PRIVACY.format(0.1)
    words = r"not allow one round: 24 rows at bob in batches of 8 spend an epsilon of .* privacy\.epsilon is 0\.1;"
    for command in ("check", "plan"):
        with pytest.raises(JobRefused, match=words):
            run(rows, command)
    # Without anybody's rows nothing can be said.
    run(rows, "check", files=0)


def test_a_budget_for_fewer_rounds_is_noted(rows: Rows) -> None:
    rows.more = PRIVACY.format(1.3)
    checked, planned = run(rows, "check"), json.loads(run(rows, "plan", "--json", "-").stdout)
    found = re.search(
        r"epsilon of 1\.3 allows (\d+) of the 50 rounds, which spend ([\d.]+); (\w+) with", checked.stderr
    )
    assert found is not None
    affordable, epsilon = int(found[1]), float(found[2])
    privacy = rows.spec().privacy
    assert privacy is not None
    budgets = {party: Budget(privacy, 8, [count], 1) for party, count in (("bob", 24), ("alice", 28), ("carol", 32))}
    lasts = {party: sum(budget.allows(number) for number in range(1, 51)) for party, budget in budgets.items()}
    assert affordable == min(lasts.values()) == lasts["bob"] < lasts["alice"]
    assert planned["rounds_affordable"] == affordable
    assert planned["limited_by"] == found[3] == "bob"
    assert planned["epsilon"] == pytest.approx(epsilon, abs=0.01)
    assert planned["epsilon"] <= 1.3
    assert "sound" in checked.stdout
    # The next one would be too many.
    rows.params["rounds"] = affordable
    assert "epsilon" not in run(rows, "check").stderr
    rows.params["rounds"] = affordable + 1
    assert f"allows {affordable} of the {affordable + 1} rounds" in run(rows, "check").stderr


def test_a_budget_of_some_parties_says_whose_rows_it_lacks(rows: Rows) -> None:
    rows.more = PRIVACY.format(1.3)
    assert "the rows of alice and carol, not given here, may allow fewer" in run(rows, "check", files=1).stderr


def test_a_plan_says_what_all_rounds_spend(rows: Rows) -> None:
    rows.more, rows.params["rounds"] = PRIVACY.format(50.0), 4
    of_files = json.loads(run(rows, "plan", "--json", "-").stdout)
    assert of_files["rounds_affordable"] == 4
    assert f"the 4 rounds spend {of_files['epsilon']:.3g} of the privacy.epsilon of 50" in of_files["advice"][-1]
    options = ("--rows", "24", "--columns", "bob=3", "--json", "-")
    assert json.loads(run(rows, "plan", *options, files=0).stdout)["epsilon"] == pytest.approx(of_files["epsilon"])


def test_a_file_without_identity_says_what_to_do(rows: Rows) -> None:
    for command in ("check", "plan"):
        noted = run(rows, command, files=1).stderr
        assert f"{rows.files[0]} names no identity and no roster. A simulation makes temporary ones" in noted
        assert f"run `fedbus identity {rows.files[0]}`" in noted
    rows.introduce()
    assert "identity" not in run(rows, "check").stderr


@pytest.mark.parametrize("command", ["check", "submit"])
def test_outputs_that_do_not_fit_the_loss_are_an_error_of_the_job_file(rows: Rows, command: str) -> None:
    rows.params["loss"], rows.layers = "bce", "[{ linear = 2 }]"
    with pytest.raises(ConfigError, match=r"model\.layers: 2 outputs and the loss is bce, which takes 1") as caught:
        rows.spec()
    # Before a party file is opened, or a broker asked for.
    with pytest.raises(ConfigError) as told:
        invoke(command, str(rows.job_file))
    assert str(told.value) == str(caught.value)
    assert str(told.value).startswith(str(rows.job_file))


def test_the_same_party_twice(rows: Rows) -> None:
    rows.files[1].write_text(rows.files[0].read_text())
    with pytest.raises(ConfigError, match=r"alice\.toml: name: .*bob\.toml is the file of 'bob' already"):
        run(rows, "check")


def test_the_help_of_plan_speaks_of_both_algorithms() -> None:
    printed = CliRunner().invoke(app, ["plan", "--help"]).output
    assert "encrypted" not in printed
    assert "vertical" in printed
    assert "fedavg" in printed
