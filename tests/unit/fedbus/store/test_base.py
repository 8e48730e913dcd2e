"""Sessions and services need of a store what the interface has, and nothing that only the one in SQLite has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from coordinator.service import Service
from fedbus.broker.base import Broker
from fedbus.cli import simulation
from fedbus.crypto.engine import Engine
from fedbus.store.audit import SqliteAuditLog
from fedbus.store.base import AuditLog, Past, Store
from fedbus.store.past import SqlitePast
from fedbus.store.sqlite import SqliteStore
from federation import ROLES, synthetic
from parties.worker import Worker

MEMBERS = {name for name in (*vars(Store), *Store.__annotations__) if not name.startswith("_")}


class Narrow:
    """A store of which nothing is to be had but what the interface has."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        assert name in MEMBERS, f"{name} is no part of the interface of a store"
        return getattr(self._store, name)


@pytest.mark.parametrize("name", sorted(name for name in MEMBERS if callable(getattr(Store, name, None))))
def test_the_store_in_sqlite_has_each_method_as_the_interface_has_it(name: str) -> None:
    assert inspect.signature(getattr(SqliteStore, name)) == inspect.signature(getattr(Store, name))


def test_the_store_in_sqlite_has_each_attribute(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "bank.db") as store:
        for name, of in Store.__annotations__.items():
            assert type(getattr(store, name)).__name__ == of
        assert store.place == str(tmp_path / "bank.db")


@pytest.mark.parametrize(("made", "interface"), [(SqliteAuditLog, AuditLog), (SqlitePast, Past)])
def test_the_parts_of_the_store_in_sqlite_have_each_method_as_the_interface_has_it(
    made: type, interface: type, tmp_path: Path
) -> None:
    names = [name for name, value in vars(interface).items() if not name.startswith("_") and inspect.isfunction(value)]
    assert names
    for name in names:
        assert inspect.signature(getattr(made, name)) == inspect.signature(getattr(interface, name))
    with SqliteStore(tmp_path / "bank.db") as store:
        assert made in (type(store.audit), type(store.past))


def test_a_job_runs_in_stores_of_which_nothing_is_known_but_the_interface(tmp_path: Path) -> None:
    def narrowed(role: Callable[..., Any]) -> Callable[..., Any]:
        def make(config: Any, broker: Broker, store: Store, engine: Engine, url: str) -> Any:
            return role(config, broker, cast(Store, Narrow(store)), engine, url)

        return make

    federation = synthetic(tmp_path, rows=20, solver="gram")
    roles = simulation.Roles(coordinator=narrowed(Service), party=narrowed(Worker), compare=ROLES.compare)
    assert federation.run(roles=roles)["state"] == "succeeded"
