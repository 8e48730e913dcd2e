"""What several benches need: synthetic tables on disk, and sessions on the in-process broker."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fedbus import codec, topology
from fedbus.algorithms import registry
from fedbus.broker.base import Broker
from fedbus.broker.memory.broker import MemoryHub
from fedbus.credentials import Credentials
from fedbus.crypto import signing
from fedbus.identity import Identity, Role, Roster
from fedbus.job import JobSpec, JobState
from fedbus.seals import IdentitySeals
from fedbus.session.events import Events
from fedbus.session.session import Session
from fedbus.store.base import Store
from fedbus.store.sqlite import SqliteStore

JOB = "bench-job"


def specification(**params: Any) -> JobSpec:
    """A job of guest `shop` and host `bank`."""
    fields = {
        "name": "bench",
        "algorithm": "vertical-linear",
        "guest": {"party": "shop", "dataset": "rows", "label": "y"},
        "hosts": [{"party": "bank", "dataset": "rows"}],
        "params": params,
    }
    return registry.parse(fields)


def acquainted(spec: JobSpec) -> dict[str, Credentials]:
    """The credentials of a job's participants, made for the occasion."""
    identities = {name: Identity(signing.generate()) for name in spec.participants}
    roles = {name: Role.COORDINATOR if name == spec.coordinator else Role.PARTY for name in identities}
    roster = Roster([identity.introduction(name, roles[name]) for name, identity in identities.items()])
    return {name: Credentials(name, roles[name], identity, roster) for name, identity in identities.items()}


def session_of(own: Credentials, job: str, store: Store, broker: Broker, *, verify_sender: bool = True) -> Session[Any]:
    """A participant's session."""
    events = Events(broker, IdentitySeals(own))
    named = {"store": store, "broker": broker, "credentials": own, "events": events, "verify_sender": verify_sender}
    return Session(job, own.name, **named)


@contextlib.contextmanager
def sessions(spec: JobSpec, connect: Callable[[str], Broker] | None = None) -> Iterator[dict[str, Session[Any]]]:
    """An open session for each participant.

    Args:
        connect: connects a user to a broker; None uses one in this process.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened, known, connect = {}, acquainted(spec), connect or MemoryHub().connect
        brokers = {name: connect(name) for name in spec.participants}
        brokers[spec.coordinator].declare(
            [topology.dead_queue(), *(topology.job_queue(name, JOB) for name in spec.participants)]
        )
        for name, broker in brokers.items():
            stack.callback(broker.close)
            store = stack.enter_context(SqliteStore(folder / f"{name}.db"))
            store.add_job(JOB, codec.pack(spec.to_map()), JobState.RUNNING)
            opened[name] = session_of(known[name], JOB, store, broker)
        for session in opened.values():
            session.open()
            stack.callback(session.close)
        yield opened


def write_tables(folder: Path, rows: int, guest_features: int, host_features: int) -> list[Path]:
    """Party files `shop.toml` and `bank.toml` with the same ids and columns of independent normal values."""
    random = np.random.default_rng(7)
    host = random.normal(size=(rows, host_features))
    guest = random.normal(size=(rows, guest_features))
    weights = random.normal(size=guest_features + host_features)
    label = np.column_stack([guest, host]) @ weights + random.normal(scale=0.1, size=rows)
    files = []
    for party, columns, table in (
        ("shop", ["y", *(f"g{c}" for c in range(guest_features))], np.column_stack([label, guest])),
        ("bank", [f"h{c}" for c in range(host_features)], host),
    ):
        lines = [",".join(["id", *columns])]
        lines += [f"id{row}," + ",".join(f"{value:.6f}" for value in values) for row, values in enumerate(table)]
        (folder / f"{party}.csv").write_text("\n".join(lines) + "\n", "utf-8")
        text = f'name = "{party}"\nstate = "{party}.db"\n[datasets.rows]\nsource = "{party}.csv"\nid = "id"\n'
        files.append(folder / f"{party}.toml")
        files[-1].write_text(text, "utf-8")
    return files
