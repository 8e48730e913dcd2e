"""Federations for tests: party files over real data, run on either broker, and the plaintext that they must equal."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import pooled_descent
from coordinator.service import Service
from fedbus import codec
from fedbus.algorithms import registry
from fedbus.algorithms.vertical.batching import batches
from fedbus.broker.base import Broker
from fedbus.cli import simulation
from fedbus.crypto.engine import Engine
from fedbus.job import JobSpec
from fedbus.messages.control import Event
from fedbus.settings import PartySettings, load_party
from fedbus.store.records import Checkpoint
from fedbus.store.sqlite import SqliteStore
from parties.data import tables
from parties.data.table import Scaling
from parties.linear.optimizer import Optimizer
from parties.side import compare
from parties.worker import Worker
from places import DATA

ROLES = simulation.Roles(coordinator=Service, party=Worker, compare=compare)

MOTOR_HOST_COLUMNS = ["ambient", "coolant", "u_d", "u_q", "torque", "i_d", "i_q"]


@dataclass
class Federation:
    """A job and the files of its parties in one folder."""

    folder: Path
    label: str
    guest: str
    hosts: list[str]
    test: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    runs: int = 0

    @property
    def place(self) -> Path:
        """What the last run kept: its stores, logs and report."""
        return self.folder / f"run{self.runs}"

    @property
    def job_file(self) -> Path:
        return self.folder / "job.toml"

    @property
    def files(self) -> list[Path]:
        return [self.folder / f"{party}.toml" for party in (self.guest, *self.hosts)]

    def write_job(self, text: str | None = None) -> Path:
        """The job file, of this text or of what the fields say."""
        if text is None:
            lines = ['name = "test"', 'algorithm = "vertical-linear"']
            data = ['dataset = "rows"', *([f'test = "{self.test}"'] if self.test else [])]
            lines += ["[guest]", f'party = "{self.guest}"', f'label = "{self.label}"', *data]
            for host in self.hosts:
                lines += ["[[hosts]]", f'party = "{host}"', *data]
            lines += ["[params]", *(f"{key} = {toml_value(value)}" for key, value in self.params.items())]
            lines += ["[limits]", *(f"{key} = {toml_value(value)}" for key, value in self.limits.items())]
            text = "\n".join(lines) + "\n"
            tomllib.loads(text)
        self.job_file.write_text(text, "utf-8")
        return self.job_file

    def run(self, broker: str = "memory", roles: simulation.Roles = ROLES) -> dict[str, Any]:
        """The job's report, as `--json` writes it."""
        self.write_job()
        # Another federation may have run in the same folder.
        self.runs = next(number for number in count(1) if not (self.folder / f"run{number}").exists())
        report = simulation.run(self.job_file, self.files, broker, roles, self.events.append, keep=self.place)
        return report.to_map()

    def run_recording_order(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The report, and each party's positions of the aligned rows, which no party publishes."""
        positions: dict[str, np.ndarray] = {}

        def party(config: PartySettings, broker: Broker, store: SqliteStore, engine: Engine, url: str) -> Worker:
            write = store.write

            def written(job: str, *, checkpoint: Checkpoint | None = None, **named: Any) -> list[bool]:
                if checkpoint is not None:
                    positions[config.name] = codec.unpack(checkpoint.state)["state"]["positions"]
                return write(job, checkpoint=checkpoint, **named)

            store.write = written  # type: ignore[method-assign]
            return Worker(config, broker, store, engine, url)

        report = self.run(roles=simulation.Roles(coordinator=Service, party=party, compare=compare))
        return report, positions

    def settings(self) -> list[PartySettings]:
        return [load_party(file, {}) for file in self.files]

    def spec(self) -> JobSpec:
        return registry.load(self.job_file)

    def weights(self, job: str) -> tuple[np.ndarray, float]:
        """The trained weights of all parties, guest first, and the intercept; from their stores."""
        shares = []
        for party in self.settings():
            with SqliteStore(party.path(party.state)) as store:
                shares.append(codec.unpack(store.model(job) or b""))
        return np.concatenate([share["weights"] for share in shares]), shares[0]["intercept"]

    def plaintext(self, epochs: int, positions: dict[str, np.ndarray]) -> pooled_descent.PooledDescent:
        """The same steps on the pooled data, in the same order of rows."""
        parties, spec = self.settings(), self.spec()
        train = [tables.load(party, spec).train.take(positions[party.name]) for party in parties]
        assert len({table.ids for table in train}) == 1
        blocks = [Scaling.fit(table).apply(table.features) for table in train]
        params = spec.params
        assert train[0].label is not None
        return pooled_descent.gradient_descent(
            blocks,
            train[0].label,
            make_optimizer=lambda _: Optimizer.create(params.optimizer, params.learning_rate, params.momentum),
            batches=batches(len(train[0]), params.batch_size),
            epochs=epochs,
            l2=params.l2,
        )


def add_party(
    folder: Path, name: str, source: Path, row_id: str, columns: list[str] | None = None, extra: str = ""
) -> None:
    """A party file with one data set called `rows`."""
    chosen = f"columns = {toml_value(columns)}\n" if columns is not None else ""
    text = f'name = "{name}"\nstate = "state/{name}.db"\nprocesses = 2\n{extra}'
    text += f'[datasets.rows]\nsource = "{source}"\nid = "{row_id}"\n{chosen}'
    (folder / f"{name}.toml").write_text(text, "utf-8")


def motor(folder: Path, *, hosts: int = 1, **params: Any) -> Federation:
    """800 rows, 4 columns at the guest and 7 at one host or divided between two, label motor_speed."""
    names = ["bank", "credit"][:hosts]
    add_party(folder, "shop", DATA / "motor_hetero_guest.csv", "idx")
    cut = [MOTOR_HOST_COLUMNS] if hosts == 1 else [MOTOR_HOST_COLUMNS[:3], MOTOR_HOST_COLUMNS[3:]]
    for name, columns in zip(names, cut, strict=True):
        add_party(folder, name, DATA / "motor_hetero_host.csv", "idx", columns)
    return Federation(folder, "motor_speed", "shop", names, params={**FAST, **params})


FAST: dict[str, Any] = {"solver": "sgd", "key_bits": 512, "insecure_for_tests": True}


def synthetic(folder: Path, *, rows: int = 60, hosts: int = 1, unit: float = 1.0, **params: Any) -> Federation:
    """Small tables of independent columns, two at each party; ids of the parties overlap by four fifths.

    The label is about 3 times `unit`.
    """
    random = np.random.default_rng(3)
    names = ["bank", "credit"][:hosts]
    blocks = {name: random.normal(size=(rows, 2)) for name in ("shop", *names)}
    label = 3.0 + sum(block @ [1.0, -0.5] for block in blocks.values()) + random.normal(scale=0.3, size=rows)
    label *= unit
    for place, (name, block) in enumerate(blocks.items()):
        kept = [row for row in random.permutation(rows) if row % 5 != place]
        header = ["id", *(["y"] if name == "shop" else []), "a", "b"]
        lines = [",".join(header)]
        for row in kept:
            values = [*([label[row]] if name == "shop" else []), *block[row]]
            lines.append(",".join([f"id{row}", *(repr(float(value)) for value in values)]))
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", "utf-8")
        add_party(folder, name, folder / f"{name}.csv", "id")
    return Federation(folder, "y", "shop", names, params={**FAST, **params})


GAPPY_KEYS = 'missing = "mean"\none_hot = ["city"]\n'


def gappy(folder: Path, own: str = GAPPY_KEYS, held_out: str = "") -> Federation:
    """A shop with 30 rows of two cities and a gap, and held-out rows of three other cities and three gaps."""
    cities = ["Bonn", "Trier"] * 15
    rows = [f"k{n},{n % 7},{'' if n == 4 else n % 5},{city}" for n, city in enumerate(cities)]
    tested = ["Bonn", "Ulm", "", "Ulm", "Kiel", "Trier"]
    held = [f"k{n},{n},{'NA' if n < 2 else n},{city}" for n, city in enumerate(tested)]
    # Of a row that is not in common nothing is counted.
    (folder / "shop_rows.csv").write_text("\n".join(["id,y,age,city", *rows, "own,1,,Rom"]) + "\n")
    (folder / "shop_held.csv").write_text("\n".join(["id,y,age,city", *held, "own,1,,Rom"]) + "\n")
    for name, size in (("rows", 30), ("held", 6)):
        lines = [f"k{n},{(n * n) % 11}" for n in range(size)]
        (folder / f"bank_{name}.csv").write_text("\n".join(["id,x", *lines]) + "\n")
    for party in ("shop", "bank"):
        text = f'name = "{party}"\nstate = "{party}.db"\nprocesses = 0\n'
        for name, keys in (("rows", own), ("held", held_out)):
            keys = keys if party == "shop" else ""
            text += f'[datasets.{name}]\nsource = "{party}_{name}.csv"\nid = "id"\n{keys}'
        (folder / f"{party}.toml").write_text(text + "[policy]\nmin_aligned_rows = 2\n")
    made = Federation(folder, "y", "shop", ["bank"], test="held", params={**FAST, "solver": "gram"})
    made.write_job()
    return made


def held_out(federation: Federation, rows: int) -> None:
    """Give every party a held-out table, of so many rows that all are common."""
    for party in (federation.guest, *federation.hosts):
        lines = (federation.folder / f"{party}.csv").read_text().splitlines()
        cells = [line.split(",", 1)[1] for line in lines[1 : rows + 1]]
        text = "\n".join([lines[0], *(f"t{number},{rest}" for number, rest in enumerate(cells))]) + "\n"
        (federation.folder / f"{party}_test.csv").write_text(text)
        file = federation.folder / f"{party}.toml"
        file.write_text(file.read_text() + f'[datasets.held]\nsource = "{party}_test.csv"\nid = "id"\n')
    federation.test = "held"


def toml_value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return repr(value)
