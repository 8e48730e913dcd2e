"""`fedbus doctor` at a real broker: what is sound, and each thing that is not, in words that name the remedy."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from certificates import issue
from fedbus import topology
from fedbus.broker.base import Outgoing
from fedbus.broker.node.node import Node
from fedbus.broker.node.server import free_ports
from fedbus.broker.rabbitmq import inspection
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.cli import app
from fedbus.identity import Identity, Role
from fedbus.statuses import Status

USERS = {"coordinator": "coordinator", "shop": "party", "bank": "party", "olga": "client"}


@pytest.fixture(scope="module")
def broker() -> Iterator[Node]:
    """A node of this file's own, whose users lose rights."""
    with Node(users=USERS) as node:
        yield node


class Place:
    """The folder of one member, sound until a test changes it."""

    def __init__(self, folder: Path, node: Node, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.url = folder / "member.url"
        self.roster = folder / "roster.toml"
        self.patch = patch
        self.node = node
        self.members = {
            name: Identity.create(folder / f"{name}.key").introduction(name, Role(role)) for name, role in USERS.items()
        }
        self.enter(*USERS)
        (folder / "users.csv").write_text("id,income\n" + "".join(f"c{n},{n}\n" for n in range(20)))
        keys = 'roster = "roster.toml"\n'
        for name in ("shop", "bank"):
            tables = '[datasets.users]\nsource = "users.csv"\nid = "id"\n'
            text = f'name = "{name}"\nstate = "state/{name}.db"\nidentity = "{name}.key"\n{keys}{tables}'
            (folder / f"{name}.toml").write_text(text)
        text = f'state = "state/c.db"\nidentity = "coordinator.key"\n{keys}parties = ["shop", "bank"]\n'
        (folder / "coordinator.toml").write_text(text)

    def enter(self, *names: str) -> None:
        """Have only these on the roster."""
        self.roster.write_text("\n".join(["[members]", *(self.members[name].line() for name in names)]) + "\n")

    def log_in(self, url: str) -> None:
        self.url.write_text(url + "\n")
        self.url.chmod(0o600)
        self.patch.delenv("FEDBUS_AMQP_URL", raising=False)
        self.patch.setenv("FEDBUS_AMQP_URL_FILE", str(self.url))

    def examine(self, name: str, url: str | None = None) -> tuple[int, dict[str, list[tuple[str, str]]]]:
        """The exit status, and level and text of each finding by step."""
        self.log_in(url or self.node.url(name))
        if name == "olga":
            options = ["--identity", str(self.folder / "olga.key"), "--roster", str(self.roster)]
        else:
            options = [str(self.folder / f"{name}.toml")]
        done = CliRunner().invoke(app, ["doctor", *options, "--json", str(self.folder / "found.json")])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        told: dict[str, Any] = json.loads((self.folder / "found.json").read_text())
        assert told["sound"] == (done.exit_code == 0)
        found: dict[str, list[tuple[str, str]]] = {}
        for step in told["steps"]:
            found.setdefault(step["step"], []).append((step["level"], step["text"]))
        return done.exit_code, found


@pytest.fixture
def place(tmp_path: Path, broker: Node, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, broker, monkeypatch)


def failures(found: dict[str, list[tuple[str, str]]]) -> dict[str, str]:
    return {step: text for step, told in found.items() for level, text in told if level == "failure"}


@pytest.mark.parametrize("name", ["shop", "coordinator", "olga"])
def test_all_is_well_and_nothing_is_left_at_the_broker(place: Place, broker: Node, name: str) -> None:
    before = broker.rabbitmqctl("list_queues", "name", "messages"), broker.rabbitmqctl("list_exchanges", "name")
    status, found = place.examine(name)
    assert (status, failures(found)) == (Status.DONE, {})
    steps = {"identity", "roster", "tls", "connection", "login", "rights", "queues", "round trip", "clock"}
    assert steps <= set(found)
    assert "came back from the broker" in found["round trip"][0][1]
    # Broker and test have the same clock.
    ((level, text),) = found["clock"]
    assert level == ("not checked" if name == "shop" else "ok")
    assert "compare `date -u`" in text or "as the broker's" in text
    assert (
        broker.rabbitmqctl("list_queues", "name", "messages"),
        broker.rabbitmqctl("list_exchanges", "name"),
    ) == before


def test_a_coordinator_that_does_not_run_is_a_warning_and_one_that_does_is_none(place: Place, broker: Node) -> None:
    _, found = place.examine("olga")
    assert [level for level, text in found["queues"] if "fedbus-coordinator" in text] == ["warning"]
    other = AmqpBroker(broker.url("coordinator"))
    try:
        queue = topology.questions_queue("coordinator")
        other.declare([queue])
        other.consume(queue.name, lambda delivery: delivery.ack())
        other.consume(topology.JOBS_QUEUE, lambda delivery: delivery.ack())
        for name in ("olga", "shop"):
            _receives(broker, topology.JOBS_QUEUE if name == "olga" else queue.name)
            status, found = place.examine(name)
            assert status == Status.DONE
            assert {level for level, _ in found["queues"]} == {"ok"}
        other.delete(queue.name, filled=True)
    finally:
        other.close()


def _receives(broker: Node, queue: str) -> None:
    """Wait until the broker knows of a consumer; a test's own limit ends it."""
    while f"{queue}\t1" not in broker.rabbitmqctl("list_queues", "name", "consumers"):
        pass


def test_a_wrong_password_is_a_failed_login(place: Place, broker: Node) -> None:
    status, found = place.examine("shop", f"amqp://shop:wrong@127.0.0.1:{broker.port}/")
    assert status == Status.BROKER
    assert failures(found).keys() == {"login"}
    assert "refuses user shop on vhost /: check user, password and vhost" in failures(found)["login"]
    assert found["rights"][0][0] == "not checked"
    # What needs no broker is examined all the same.
    assert found["data"] == [("ok", f"users: 20 rows of 1 columns in {place.folder / 'users.csv'}")]


def test_another_user_s_login_is_told(place: Place, broker: Node) -> None:
    status, found = place.examine("shop", broker.url("bank"))
    assert status == Status.CONFIGURATION
    assert "is of user 'bank', and this is 'shop'" in failures(found)["login"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("amqp://shop:x@127.0.0.1:{port}/", "Connection refused; check that the broker runs"),
        ("amqp://shop:x@nowhere.invalid:{port}/", "check that the broker runs, host and port of its URL"),
    ],
)
def test_a_broker_that_cannot_be_reached_is_told_at_once(place: Place, url: str, reason: str) -> None:
    status, found = place.examine("shop", url.format(port=free_ports()[0]))
    assert status == Status.BROKER
    assert failures(found).keys() == {"connection"}
    assert reason in failures(found)["connection"]


def test_rights_that_lack_and_rights_too_many_are_told(place: Place, broker: Node) -> None:
    own = topology.permissions("bank", "party")
    try:
        broker.rabbitmqctl("set_permissions", "bank", "^$", r"^fedbus\.events$", own["read"])
        broker.rabbitmqctl("clear_topic_permissions", "bank")
        status, found = place.examine("bank")
        assert status == Status.BROKER
        lacking = [text for level, text in found["rights"] if level == "failure"]
        assert [text.split(" (")[0] for text in lacking] == [
            "bank may not publish to fedbus.data",
            "bank may not publish to fedbus.dead",
        ]
        assert all("fedbus broker-definitions" in text for text in lacking)
        assert found["round trip"] == [("not checked", "bank may not publish")]
        broker.rabbitmqctl("set_permissions", "bank", "^$", ".*", ".*")
        status, found = place.examine("bank")
        assert status == Status.DONE
        many = [text for level, text in found["rights"] if level == "warning"]
        assert [text.split(",")[0] for text in many] == [
            "bank may publish to fedbus.data as another party",
            "bank may give orders to parties",
            "bank may read others' queues",
        ]
    finally:
        broker.rabbitmqctl("set_permissions", "bank", own["configure"], own["write"], own["read"])
        for each in topology.topic_permissions("bank", "party"):
            broker.rabbitmqctl("set_topic_permissions", "bank", each["exchange"], each["write"], each["read"])


def test_a_queue_that_lacks_is_told_with_who_makes_it(place: Place, broker: Node) -> None:
    queue = topology.control_queue("bank")
    broker.rabbitmqctl("delete_queue", queue.name)
    try:
        status, found = place.examine("bank")
        assert status == Status.BROKER
        assert f"the broker has no queue {queue.name}" in failures(found)["queues"]
        assert "with --party bank" in failures(found)["queues"]
    finally:
        coordinator = AmqpBroker(broker.url("coordinator"))
        coordinator.declare([queue])
        coordinator.close()


def test_messages_that_nobody_receives_are_counted(place: Place, broker: Node) -> None:
    place.log_in(broker.url("bank"))
    name = topology.control_queue("bank").name
    coordinator = AmqpBroker(broker.url("coordinator"))
    try:
        coordinator.publish(Outgoing(topology.CONTROL, "bank.x.y", b"x", "m")).result(30)
        _, found = place.examine("bank")
        assert ("ok", f"{name} is there, where 1 messages wait; this party's process does not run") in found["queues"]
        broker.rabbitmqctl("purge_queue", name)
        coordinator.publish(Outgoing(topology.DEAD, "x", b"x", "m")).result(30)
        _, found = place.examine("coordinator")
        # One more examination has left none of its own behind the one that waits.
        _, found = place.examine("coordinator")
        assert ("warning", "fedbus.dead has 1 messages that nobody could take; see docs/runbook.md") in found["queues"]
    finally:
        broker.rabbitmqctl("purge_queue", topology.DEAD)
        coordinator.close()


def test_a_table_that_cannot_be_read_is_named_with_its_row(place: Place) -> None:
    (place.folder / "users.csv").write_text("id,income\nc1,5\nc2,much\n")
    status, found = place.examine("shop")
    assert status == Status.DATA
    assert failures(found).keys() == {"data"}
    assert "users.csv: column 'income', row 3" in failures(found)["data"]


def test_an_identity_that_is_on_no_roster_is_told(place: Place) -> None:
    place.enter("coordinator", "bank", "olga")
    status, found = place.examine("shop")
    assert status == Status.CONFIGURATION
    assert failures(found).keys() == {"roster"}
    assert "has no shop with the key in" in failures(found)["roster"]
    assert "fedbus roster add" in failures(found)["roster"]


@pytest.mark.parametrize(
    ("seconds", "level", "words"),
    [(7200.0, "failure", "ahead of"), (-7200.0, "failure", "behind"), (100.0, "warning", "ahead of"), (20.0, "ok", "")],
)
def test_a_clock_that_differs_from_the_broker_s_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, seconds: float, level: str, words: str
) -> None:
    clock = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=time.monotonic)
    monkeypatch.setattr(inspection, "time", clock)
    status, found = place.examine("olga")
    ((found_level, text),) = found["clock"]
    assert (found_level, status == Status.DONE) == (level, level != "failure")
    assert words in text
    assert any(f"{abs(seconds) - off:.0f} s" in text for off in (0, 1))


def test_tls_and_the_end_of_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ago = datetime.timedelta(days=10)
    folder = issue(tmp_path / "certificates", *USERS, ago=ago)
    with Node(users=USERS, certificates=folder / "broker") as node:
        place = Place(tmp_path, node, monkeypatch)
        for key, file in (("CA", "ca.pem"), ("CERTIFICATE", "certificate.pem"), ("KEY", "key.pem")):
            monkeypatch.setenv(f"FEDBUS_AMQP_{key}", str(folder / "members" / "shop" / file))
        status, found = place.examine("shop", f"{node.address}/")
        assert (status, failures(found)) == (Status.DONE, {})
        texts = [text for level, text in found["tls"] if level == "warning"]
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=20)
        assert len(texts) == 2
        assert f"ends at {end:%Y-%m-%d}" in texts[0]
        assert texts[1].startswith(f"the broker's certificate ends on {end:%Y-%m-%d}")
        assert found["login"] == [("ok", "as shop on vhost /")]
        # Another authority's broker is not trusted.
        foreign = issue(tmp_path / "foreign", "shop")
        monkeypatch.setenv("FEDBUS_AMQP_CA", str(foreign / "authority" / "ca.pem"))
        status, found = place.examine("shop", f"amqps://shop:{quote('x')}@127.0.0.1:{node.port}/")
        assert status == Status.BROKER
        assert failures(found).keys() == {"tls"}
        assert "is of no authority in" in failures(found)["tls"]
