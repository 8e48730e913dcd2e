"""Federations of federated averaging for tests: the same columns at several parties, other rows at each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedbus import codec
from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.cli import simulation
from fedbus.identity import Identity
from fedbus.messages.control import Event, Notice
from fedbus.settings import PartySettings, load_party
from fedbus.store.sqlite import SqliteStore
from fedbus.weights import Weights
from federation import ROLES, toml_value
from places import DATA

PARTIES = ("bob", "alice", "carol")
LAYERS = '[{ linear = 8 }, { activation = "tanh" }, { linear = 1 }]'
EVERYTHING = 'policy = { aggregations = ["masked", "paillier", "plain"] }\n'


@dataclass
class Rows:
    """A job of federated averaging and the files of its parties in one folder.

    Attributes:
        params, strategy, data: sections of the job file; values are written as TOML writes them.
        more: lines of the job file after these.
        events: what a client was told of the job.
        watch: called with each of them.
    """

    folder: Path
    label: str
    parties: list[str]
    tested: bool = False
    layers: str = LAYERS
    params: dict[str, Any] = field(default_factory=dict)
    strategy: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    more: str = ""
    events: list[Event] = field(default_factory=list)
    watch: Callable[[Event], object] | None = None
    runs: int = 0

    @property
    def place(self) -> Path:
        """What the last run kept: its stores, logs and report."""
        return self.folder / f"run{self.runs}"

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]

    @property
    def job_file(self) -> Path:
        return self.folder / "job.toml"

    @property
    def files(self) -> list[Path]:
        return [self.folder / f"{party}.toml" for party in self.parties]

    def write_job(self) -> Path:
        lines = ['name = "test"', 'algorithm = "fedavg"', f'label = "{self.label}"']
        for party in self.parties:
            lines += ["[[parties]]", f'party = "{party}"', 'dataset = "rows"']
            lines += ['test = "held"'] if self.tested else []
        lines += ["[model]", f"layers = {self.layers}"]
        for name in ("data", "params", "strategy", "limits"):
            lines += [f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in getattr(self, name).items())]
        self.job_file.write_text("\n".join(lines) + "\n" + self.more, "utf-8")
        return self.job_file

    def run(self, broker: str = "memory", roles: simulation.Roles = ROLES) -> dict[str, Any]:
        """The job's report, as `--json` writes it."""
        self.write_job()

        def watch(event: Event) -> None:
            self.events.append(event)
            if self.watch is not None:
                self.watch(event)

        self.runs += 1
        return simulation.run(self.job_file, self.files, broker, roles, watch, keep=self.place).to_map()

    def spec(self) -> AverageJob:
        spec = registry.load(self.write_job())
        assert isinstance(spec, AverageJob)
        return spec

    def settings(self) -> list[PartySettings]:
        return [load_party(file, {}) for file in self.files]

    def introduce(self) -> None:
        """Give the parties identities and the roster, which a simulation does by itself."""
        lines = ["[parties]"]
        for party in self.parties:
            lines.append(f'{party} = "{Identity.create(self.folder / f"{party}.key").public}"')
            file = self.folder / f"{party}.toml"
            file.write_text(f'identity = "{party}.key"\nroster = "roster.toml"\n' + file.read_text("utf-8"), "utf-8")
        (self.folder / "roster.toml").write_text("\n".join(lines) + "\n", "utf-8")

    def model(self, job: str, party: str, name: str = "last") -> Weights:
        """What a party has kept of a job."""
        settings = next(each for each in self.settings() if each.name == party)
        with SqliteStore(settings.path(settings.state)) as store:
            kept = codec.unpack(store.model(job) or b"")
        return Weights.parse(bytearray(kept[name]))


def synthetic(folder: Path, *, parties: int = 3, rows: int = 24, tested: bool = True, **params: Any) -> Rows:
    """Small tables of three columns of different units; the label is a noisy sum of functions of them."""
    random = np.random.default_rng(5)
    names = list(PARTIES[:parties]) if parties <= len(PARTIES) else [f"p{number:02}" for number in range(parties)]
    for place, name in enumerate(names):
        for table, count in (("rows", rows + 4 * place), ("held", 10)):
            features = random.normal(size=(count, 3)) * [1.0, 50.0, 1e-3] + [0.0, 300.0, 0.0]
            label = features[:, 0] + np.sin(features[:, 1] / 50) + 500 * features[:, 2]
            write_table(folder / f"{name}_{table}.csv", ["a", "b", "c", "y"], np.column_stack([features, label]))
        write_party(folder, name)
    course = {"rounds": 4, "batch_size": 8, "learning_rate": 0.05}
    return Rows(folder, "y", names, tested, params={**course, **params})


def boston(folder: Path, **params: Any) -> Rows:
    """The demo's data, network and settings."""
    for name in ("bob", "alice"):
        tables = {"rows": DATA / "sample_rows" / f"{name}.csv", "held": DATA / "sample_rows" / f"{name}_test.csv"}
        write_party(folder, name, tables, "tract")
    layers = ", ".join(f'{{ linear = {width} }}, {{ activation = "relu" }}' for width in (32, 24, 16))
    course = {"batch_size": 8, "learning_rate": 0.03}
    rows = Rows(folder, "MEDV", ["bob", "alice"], tested=True, layers=f"[{layers}, {{ linear = 1 }}]")
    rows.data, rows.params = {"as_is": ["CHAS"]}, {**course, **params}
    return rows


def breast(folder: Path, **params: Any) -> Rows:
    """Both parts of the breast cancer data joined by id and dealt by rows to three parties; a fifth is held out."""
    parts = [
        np.genfromtxt(DATA / f"breast_hetero_{side}.csv", delimiter=",", skip_header=1) for side in ("guest", "host")
    ]
    guest, host = (part[np.argsort(part[:, 0])] for part in parts)
    assert (guest[:, 0] == host[:, 0]).all()
    table = np.random.default_rng(4).permutation(np.column_stack([guest[:, 1:], host[:, 1:]]))
    columns = ["y", *(f"x{number}" for number in range(table.shape[1] - 1))]
    for place, name in enumerate(PARTIES):
        own = table[place :: len(PARTIES)]
        write_table(folder / f"{name}_rows.csv", columns, own[len(own) // 5 :])
        write_table(folder / f"{name}_held.csv", columns, own[: len(own) // 5])
        write_party(folder, name)
    rows = Rows(folder, "y", list(PARTIES), tested=True)
    rows.layers = '[{ linear = 16 }, { activation = "relu" }, { linear = 1 }]'
    rows.params = {"batch_size": 16, "loss": "bce", **params}
    return rows


def write_table(path: Path, columns: list[str], values: np.ndarray, row_id: str = "id") -> None:
    """A CSV file with an id in each row."""
    lines = [",".join([row_id, *columns])]
    lines += [f"{path.stem}-{number}," + ",".join(repr(float(v)) for v in row) for number, row in enumerate(values)]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def write_party(
    folder: Path, name: str, tables: dict[str, Path] | None = None, row_id: str = "id", extra: str = EVERYTHING
) -> None:
    """A party file."""
    tables = tables or {table: folder / f"{name}_{table}.csv" for table in ("rows", "held")}
    text = f'name = "{name}"\nstate = "state/{name}.db"\nprocesses = 0\n{extra}'
    for table, path in tables.items():
        text += f'[datasets.{table}]\nsource = "{path}"\nid = "{row_id}"\n'
    (folder / f"{name}.toml").write_text(text, "utf-8")
