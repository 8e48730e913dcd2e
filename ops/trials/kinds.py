"""The jobs that are tried, small ones of every kind: files of a coordinator and its parties, and a job to submit."""

from __future__ import annotations

import json
import random
from pathlib import Path

from fedbus.identity import Identity, Role

JOB = "chaos"

_ROWS = 90
# Of "alike" a column of the last party is the sum of others' but for a billionth: a probe and a second pass.
_VERTICAL = {"gram1": 1, "gram2": 2, "alike1": 1, "alike2": 2, "sgd1": 1, "sgd2": 2}
_SGD = "key_bits = 512\ninsecure_for_tests = true\nmax_epochs = 40\ntolerance = 0.0\nlearning_rate = 0.2\n"
_AVERAGING = ("masked", "paillier", "plain")
# A party that is away is asked soon, and waited for longer than any start takes.
_LIMITS = "[limits]\nresend = 2.0\njoin = 180.0\n"

KINDS = (*_VERTICAL, *_AVERAGING)


def write(kind: str, folder: Path) -> list[str]:
    """Write the files of a job of one kind; returns its parties."""
    if kind in _VERTICAL:
        parties = ["shop", "bank", "credit"][: _VERTICAL[kind] + 1]
        text = _vertical(kind, parties)
    else:
        parties = ["north", "south", "west"]
        text = _averaging(kind, parties)
    (folder / "job.toml").write_text(text + _LIMITS, "utf-8")
    for place, party in enumerate(parties):
        alike = kind.startswith("alike") and place == len(parties) - 1
        _write_party(folder, party, place, vertical=kind in _VERTICAL, alike=alike)
    roles = {"coordinator": Role.COORDINATOR, "client": Role.CLIENT, **dict.fromkeys(parties, Role.PARTY)}
    members = [Identity.create(folder / f"{name}.key").introduction(name, role) for name, role in roles.items()]
    lines = ["[members]", *(member.line() for member in members)]
    (folder / "roster.toml").write_text("\n".join(lines) + "\n", "utf-8")
    lines = [
        'identity = "coordinator.key"',
        'roster = "roster.toml"',
        'state = "coordinator.db"',
        "processes = 1",
        f"parties = {json.dumps(parties)}",
    ]
    (folder / "coordinator.toml").write_text("\n".join(lines) + "\n", "utf-8")
    return parties


def _vertical(kind: str, parties: list[str]) -> str:
    guest, *hosts = parties
    lines = [f'name = "{JOB}"', 'algorithm = "vertical-linear"', "[guest]", f'party = "{guest}"', 'label = "y"']
    lines.append('dataset = "rows"')
    for host in hosts:
        lines += ["[[hosts]]", f'party = "{host}"', 'dataset = "rows"']
    if kind.startswith("sgd"):
        return "\n".join([*lines, "[params]", 'solver = "sgd"', _SGD])
    return "\n".join([*lines, "[params]", "key_bits = 512\ninsecure_for_tests = true\n"])


def _averaging(kind: str, parties: list[str]) -> str:
    lines = [f'name = "{JOB}"', 'algorithm = "fedavg"', 'label = "y"']
    for party in parties:
        lines += ["[[parties]]", f'party = "{party}"', 'dataset = "rows"']
    lines += ["[model]", 'layers = [{ linear = 8 }, { activation = "tanh" }, { linear = 1 }]', "[params]"]
    # No round goes on without a party, or the result would depend on who was away.
    lines += [f'aggregation = "{kind}"', "rounds = 25", "deadline = 180.0", f"min_clients = {len(parties)}"]
    lines += ["key_bits = 512", "insecure_for_tests = true"] if kind == "paillier" else []
    return "\n".join(lines) + "\n"


def _write_party(folder: Path, party: str, place: int, *, vertical: bool, alike: bool) -> None:
    columns = (f"{party}_a", f"{party}_b") if vertical else ("a", "b")
    labelled = place == 0 or not vertical
    lines = [",".join(["id", *(["y"] if labelled else []), *columns])]
    for row in range(_ROWS):
        # The same rows at all parties, or rows of its own at each, from one stream that all share.
        draw = random.Random(row if vertical else row + 1000 * place)
        values = [draw.gauss(0, 1) for _ in range(6)]
        label = 3 + sum(values) + draw.gauss(0, 0.3)
        own = values[2 * place : 2 * place + 2] if vertical else values[:2]
        if alike:
            own[0] = sum(values[0 : 2 * place : 2]) + 1e-9 * own[0]
        if not vertical:
            label = 3 + values[0] - 0.5 * values[1] + 0.1 * values[2]
        if vertical and row % 10 == place:
            continue
        lines.append(
            ",".join([f"r{row}-{place if not vertical else 0}", *([repr(label)] if labelled else []), *map(repr, own)])
        )
    (folder / f"{party}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    text = f'name = "{party}"\nstate = "{party}.db"\nprocesses = 1\n'
    text += f'identity = "{party}.key"\nroster = "roster.toml"\n'
    text += f'[datasets.rows]\nsource = "{party}.csv"\nid = "id"\n'
    text += '[policy]\naggregations = ["masked", "paillier", "plain"]\n'
    (folder / f"{party}.toml").write_text(text, "utf-8")
