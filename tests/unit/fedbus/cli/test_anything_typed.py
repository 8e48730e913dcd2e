"""Whatever is typed, and whatever is in the files: no traceback, a sentence, an exit status that the documents know."""

from __future__ import annotations

import datetime
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedbus.cli import daemons
from fedbus.cli.app import app, invoke
from fedbus.identity import Identity, Role
from fedbus.statuses import Status
from federation import Federation, synthetic
from rows import synthetic as horizontal

# No command fails without a class of its own, or is interrupted here.
DOCUMENTED = {*Status} - {Status.OTHER, Status.INTERRUPTED, Status.READER_GONE}
few = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.0, -0.5, 1e-300, 1e308])
ODD_NUMBERS = st.sampled_from([float("inf"), float("-inf"), float("nan")])
TEXTS = st.sampled_from(
    ["", " ", "\x00", "\x1b[2J", "é", "\u202e", "a" * 5000, "../x", "/", "bank", "shop", "coordinator"]
)
LEAVES = NUMBERS | ODD_NUMBERS | TEXTS | st.booleans()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2))
DEEP: Any = "x"
for _ in range(90):
    DEEP = [DEEP]


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything in a tree."""
    found = [path] if path else []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


def mutated(tree: dict[str, Any], draw: st.DataObject) -> dict[str, Any]:
    """A tree of TOML with one to three changes: a key dropped, a value replaced, a key or an item added."""
    tree = deepcopy(tree)
    for _ in range(draw.draw(st.integers(1, 3))):
        ways = places(tree)
        if not ways:
            break
        way = draw.draw(st.sampled_from(ways))
        parent: Any = tree
        for key in way[:-1]:
            parent = parent[key]
        change = draw.draw(st.sampled_from(["drop", "replace", "replace", "add"]))
        if change == "drop":
            del parent[way[-1]]
        elif change == "replace":
            parent[way[-1]] = deepcopy(draw.draw(VALUES | st.just(DEEP)))
        elif isinstance(parent, list):
            parent.append(deepcopy(parent[0]) if parent else 1)
        else:
            parent[draw.draw(TEXTS)] = deepcopy(draw.draw(VALUES))
    return tree


def hold(status: int, printed: str, said: str) -> None:
    assert status in DOCUMENTED, said
    assert "Traceback" not in printed + said
    assert (status == 0) or any(line.startswith("error: ") and len(line) > 10 for line in said.splitlines()), said
    assert "\x1b[2J" not in printed + said


@pytest.fixture
def vertical(tmp_path: Path) -> Federation:
    made = synthetic(tmp_path, solver="gram")
    made.write_job()
    return made


@few
@given(draw=st.data())
@pytest.mark.parametrize("algorithm", ["vertical", "horizontal"])
def test_files_of_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], algorithm: str, draw: st.DataObject
) -> None:
    made = synthetic(tmp_path, solver="gram") if algorithm == "vertical" else horizontal(tmp_path)
    made.write_job()
    files = [made.job_file, *made.files]
    changed = draw.draw(st.sampled_from(files))
    changed.write_text(tomli_w.dumps(mutated(tomllib.loads(changed.read_text("utf-8")), draw)), "utf-8")
    parties = [word for file in made.files for word in ("--party", str(file))]
    command = draw.draw(st.sampled_from([["check", *parties], ["check"], ["plan", *parties], ["identity"], ["model"]]))
    subject = made.files[0] if command[0] in ("identity", "model") else made.job_file
    status = invoke(app, [command[0], str(subject), *command[1:]])
    captured = capsys.readouterr()
    hold(status, captured.out, captured.err)


@few
@given(draw=st.data())
def test_coordinator_files_of_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str], draw: st.DataObject) -> None:
    tree = {"name": "c", "state": "c.db", "parties": ["a", "b"], "operators": ["o"], "processes": 0}
    tree |= {"broker": {"heartbeat": 30, "verify_sender": True}, "metrics": {"address": "127.0.0.1:0"}}
    file = tmp_path / "c.toml"
    file.write_text(tomli_w.dumps(mutated(tree, draw)), "utf-8")
    # Without a URL it goes no further than its settings.
    status = invoke(daemons._single(daemons._coordinator, "x"), ["--config", str(file)])
    captured = capsys.readouterr()
    hold(status, captured.out, captured.err)
    assert status in (0, 2)


@few
@given(draw=st.data())
def test_roster_files_of_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str], draw: st.DataObject) -> None:
    bank, newer, c = (Identity(name * 32) for name in (b"b", b"n", b"c"))
    line = newer.introduction("bank", Role.PARTY).line()
    members = {
        "bank": {"key": bank.public, "role": "party", "until": datetime.date(2999, 12, 31)},
        "shop": newer.public,
    }
    members |= tomllib.loads(c.introduction("c", Role.COORDINATOR).line())
    file = tmp_path / "roster.toml"
    file.write_text(tomli_w.dumps(mutated({"members": members}, draw)), "utf-8")
    before = file.read_bytes()
    command = draw.draw(st.sampled_from([["show"], ["add", line], ["add", "--replace", line], ["remove", "bank"]]))
    status = invoke(app, ["roster", command[0], str(file), *command[1:]])
    captured = capsys.readouterr()
    hold(status, captured.out, captured.err)
    assert status == 0 or file.read_bytes() == before


WORDS = [
    *("check", "simulate", "identity", "info", "plan", "submit", "watch", "cancel", "jobs", "show", "model"),
    *("broker-definitions", "--party", "--json", "--rows", "--columns", "--keep", "--watch", "--help", "--limit"),
    *("roster", "add", "remove", "--replace", "--until", "2999-12-31", "--identity", "--roster"),
    *(
        "--urls",
        "--client",
        "--address",
        "--",
        "-",
        "",
        "1e9",
        "-1",
        "\x1b[2J",
        "é",
        "a=b",
        "shop=0",
        "bank=99999999999",
    ),
]


@few
@given(draw=st.data())
def test_any_words(
    vertical: Federation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, draw: st.DataObject
) -> None:
    monkeypatch.chdir(vertical.folder)
    for variable in ("FEDBUS_AMQP_URL", "FEDBUS_AMQP_URL_FILE"):
        monkeypatch.delenv(variable, raising=False)
    (vertical.folder / "empty.toml").touch()
    (vertical.folder / "binary.toml").write_bytes(bytes(range(256)))
    names = ["job.toml", "shop.toml", "bank.csv", "state", ".", "/dev/null", "none.toml", "empty.toml", "binary.toml"]
    words = draw.draw(st.lists(st.sampled_from(WORDS + names), max_size=6))
    first = draw.draw(st.sampled_from([*WORDS[:12], "roster"]))
    if first == "simulate":
        # One that is right would run.
        words = [word for word in words if word != "bank.toml"]
    status = invoke(app, [first, *words])
    captured = capsys.readouterr()
    hold(status, captured.out, captured.err)
