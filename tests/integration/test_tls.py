"""TLS with a real broker: certificates on both sides and logins by them, and what is refused, in which words."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certificates import expired, files, issue, variables
from fedbus import topology
from fedbus.broker.base import Delivery, Outgoing
from fedbus.broker.node.node import Node
from fedbus.broker.rabbitmq.broker import AmqpBroker
from fedbus.certificates.files import TlsFiles
from fedbus.certificates.folder import provide
from fedbus.certificates.listener import CA, CERTIFICATE, FILES, KEY
from fedbus.client import Client
from fedbus.errors import AccessRefused, BrokerError, ConnectionLost, Untrusted
from fedbus.service.process import script
from fedbus.statuses import Status
from keyring import key_files
from processes import WAIT, Processes, small

USERS = {"coordinator": "coordinator", "shop": "party", "bank": "party", "client": "client"}
# Longer than a test may take: what waits for it to pass fails the test.
FOR_EVER = 10_000.0

Connect = Callable[..., AmqpBroker]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a federation; `stranger` has one, and no user at the broker."""
    return issue(tmp_path_factory.mktemp("tls") / "certificates", *USERS, "stranger")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of another authority, of the same names."""
    return issue(tmp_path_factory.mktemp("foreign") / "certificates", *USERS)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Those of the same authority that have expired."""
    return expired(tmp_path_factory.mktemp("past") / "certificates", folder, *USERS)


@pytest.fixture(scope="module")
def tls_node(folder: Path) -> Iterator[Node]:
    """A node that takes TLS connections alone, shared by the file."""
    with Node(users=USERS, certificates=folder / "broker") as node:
        yield node


@pytest.fixture
def connect_by(tls_node: Node) -> Iterator[Connect]:
    """Connections by files of certificates, closed after the test."""
    made: list[AmqpBroker] = []

    def one(tls: TlsFiles, url: str = "{}/", **settings: object) -> AmqpBroker:
        made.append(AmqpBroker(url.format(tls_node.address), tls=tls, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for broker in made:
        broker.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what only the broker's tools tell; a test's own limit ends it."""
    while not condition():
        time.sleep(0.05)


def member(folder: Path, name: str) -> Path:
    return folder / "members" / name


def test_a_certificate_is_the_login_and_messages_bear_its_name(folder: Path, connect_by: Connect) -> None:
    shop, coordinator = (connect_by(files(member(folder, name))) for name in ("shop", "coordinator"))
    received: queue.Queue[Delivery] = queue.Queue()

    def receive(delivery: Delivery) -> None:
        received.put(delivery)
        delivery.ack()

    coordinator.connect(FOR_EVER)
    watched = topology.job_queue("bank", "j1")
    coordinator.declare([watched])
    bank = connect_by(files(member(folder, "bank")))
    bank.consume(watched.name, receive)
    shop.publish(Outgoing(topology.DATA, topology.data_key("shop", "bank", "j1"), b"over TLS", "m1")).result(WAIT)
    delivery = received.get(timeout=WAIT)
    assert (shop.user, delivery.user, delivery.body) == ("shop", "shop", b"over TLS")
    coordinator.delete(watched.name).result(WAIT)


def test_a_password_serves_too_where_a_certificate_lets_in(folder: Path, tls_node: Node, connect_by: Connect) -> None:
    # The certificate is another's: with a password in the URL it says nothing of who logs in.
    broker = connect_by(files(member(folder, "shop")), tls_node.url("client"))
    broker.connect(FOR_EVER)
    assert broker.user == "client"


def test_whoever_shows_no_certificate_or_one_that_does_not_fit_is_refused_at_once_with_what_to_do(
    folder: Path, foreign: Path, past: Path, tls_node: Node, connect_by: Connect
) -> None:
    shop, ca = member(folder, "shop"), folder / "broker"
    place = f"RabbitMQ at 127.0.0.1:{tls_node.port}"

    def refused(tls: TlsFiles, url: str = "{}/") -> str:
        with pytest.raises(Untrusted) as caught:
            connect_by(tls, url).connect(FOR_EVER)
        return str(caught.value)

    said = refused(files(shop, ca=member(foreign, "shop")))
    assert said.startswith(f"the certificate of {place} is of no authority in FEDBUS_AMQP_CA: {foreign}")
    said = refused(TlsFiles(certificate=files(shop).certificate, key=files(shop).key))
    assert "is of no authority in the system's authorities, as no broker.ca and no FEDBUS_AMQP_CA is set" in said
    said = refused(files(shop), f"amqps://localhost:{tls_node.port}/")
    assert "is not for localhost: write a host name into the broker URL that it is for" in said
    said = refused(TlsFiles(ca=files(shop).ca), tls_node.url("shop"))
    assert said.startswith(f"{place} asks for a certificate of this participant (certificate required): set broker.cer")
    said = refused(files(member(past, "shop")))
    assert said.startswith(f"FEDBUS_AMQP_CERTIFICATE: {past}")
    assert "expired at 20" in said
    assert "get a new one" in said
    said = refused(files(member(foreign, "shop"), ca=ca))
    assert said.startswith(f"{place} does not accept FEDBUS_AMQP_CERTIFICATE: {foreign}")
    assert "(unknown ca): it is not of the authority that the broker trusts" in said
    said = refused(files(folder / "broker"))
    assert "it is not one for a login at it; the broker's administrator makes one" in said


def test_the_broker_refuses_what_has_expired_by_its_own_clock(
    past: Path, folder: Path, connect_by: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TlsFiles, "check_dates", lambda _: None)
    with pytest.raises(
        Untrusted, match=r"\(certificate expired\): it has expired by the broker's clock; get a new one"
    ):
        connect_by(files(member(past, "shop"), ca=folder / "broker")).connect(FOR_EVER)


def test_a_broker_s_own_certificate_that_expired_is_told_and_waited_for(
    folder: Path, past: Path, tls_node: Node, connect_by: Connect
) -> None:
    served, old = folder / "broker" / CERTIFICATE, (folder / "broker" / CERTIFICATE).read_text()
    key = (folder / "broker" / KEY).read_text()

    def serve(certificate: str, key: str) -> None:
        served.write_text(certificate)
        served.with_name(KEY).write_text(key)
        # The server reads them again within minutes by itself.
        tls_node.rabbitmqctl("eval", "ssl:clear_pem_cache().")

    serve(*((past / "broker" / name).read_text() for name in (CERTIFICATE, KEY)))
    broker = connect_by(files(member(folder, "shop")))
    with pytest.raises(Untrusted, match="has expired: its administrator renews it by `fedbus tls FOLDER`"):
        broker.connect(FOR_EVER)
    serve(old, key)
    broker.connect(None)


def test_the_broker_says_which_user_it_does_not_know(folder: Path, connect_by: Connect) -> None:
    with pytest.raises(AccessRefused) as caught:
        connect_by(files(member(folder, "stranger"))).connect(FOR_EVER)
    assert "refuses user stranger on vhost /: its name is that of FEDBUS_AMQP_CERTIFICATE: " in str(caught.value)
    assert "`fedbus broker-definitions`" in str(caught.value)


def test_a_certificate_of_another_user_publishes_nothing_in_the_name_of_this_one(
    folder: Path, connect_by: Connect
) -> None:
    broker = connect_by(files(member(folder, "bank")), user="shop", nack_seconds=0.0)
    event = Outgoing(topology.EVENTS, topology.event_key("shop", "j1", "state"), b"", "m1", mandatory=False)
    with pytest.raises(BrokerError, match="refused for user 'bank'"):
        broker.publish(event).result(WAIT)


def test_the_port_without_tls_and_the_one_with_it_are_told_apart(
    folder: Path, tls_node: Node, node: Node, connect_by: Connect
) -> None:
    with pytest.raises(ConnectionLost, match="where that port is the broker's for TLS, its URL begins with amqps://"):
        connect_by(TlsFiles(), f"amqp://shop:x@127.0.0.1:{tls_node.port}/").connect(3.0)
    with pytest.raises(Untrusted, match="does not speak TLS on this port: check the broker URL's port"):
        connect_by(files(member(folder, "shop")), f"amqps://127.0.0.1:{node.port}/").connect(FOR_EVER)


def test_a_renewed_certificate_serves_the_next_connection_of_a_running_process(
    folder: Path, tls_node: Node, connect_by: Connect, tmp_path: Path
) -> None:
    own = shutil.copytree(member(folder, "bank"), tmp_path / "bank")
    broker = connect_by(files(own))
    broker.connect(FOR_EVER)

    def shown() -> set[str]:
        lines = tls_node.rabbitmqctl("list_connections", "--silent", "user", "peer_cert_validity").splitlines()
        return {line for line in lines if line.startswith("bank")}

    before = shown()
    assert len(before) == 1
    provide(folder, (), (), days=90, renew_days=60)
    shutil.copy(member(folder, "bank") / CERTIFICATE, own / CERTIFICATE)
    tls_node.rabbitmqctl("close_all_connections", "--", "renewed")
    until(lambda: len(shown()) == 1 and shown() != before)
    broker.publish(Outgoing(topology.EVENTS, "bank.j1.state", b"", "m2", mandatory=False)).result(WAIT)


def test_a_user_that_is_deleted_is_cut_off_and_its_certificate_lets_nobody_in(
    folder: Path, tls_node: Node, connect_by: Connect
) -> None:
    issue(folder, "leaver")
    tls_node.add_user("leaver", "client")
    broker = connect_by(files(member(folder, "leaver")))
    broker.connect(FOR_EVER)
    tls_node.rabbitmqctl("delete_user", "leaver")
    del tls_node.users["leaver"]
    until(lambda: "leaver" not in tls_node.rabbitmqctl("list_connections", "--silent", "user"))
    with pytest.raises(AccessRefused, match="refuses user leaver"):
        connect_by(files(member(folder, "leaver"))).connect(FOR_EVER)


def test_a_job_runs_over_tls_with_logins_by_certificates_alone(folder: Path, tls_node: Node, tmp_path: Path) -> None:
    federation = small(tmp_path, max_epochs=5)
    federation.write_job()
    running = Processes(federation, tls_node)
    url = f"{tls_node.address}/"
    for name in ("coordinator", "shop", "bank"):
        shutil.copytree(member(folder, name), tmp_path / f"tls-{name}")
        lines = ["[broker]", *(f'{key} = "tls-{name}/{file}"' for key, file in FILES.items())]
        with (tmp_path / f"{name}.toml").open("a") as file:
            file.write("\n".join(lines) + "\n")
            if name != "coordinator":
                file.write("[policy]\ninsecure_for_tests = true\n")
    report = tmp_path / "report.json"
    try:
        running.start_all(FEDBUS_AMQP_URL=url, FEDBUS_SIMULATION="false")
        done = _fedbus(
            "submit",
            str(federation.job_file),
            "--watch",
            "--json",
            str(report),
            FEDBUS_AMQP_URL=url,
            **variables(member(folder, "client")),
            **key_files(tmp_path / "keys", "client").environment(),
        )
    finally:
        running.kill_all()
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["state"] == "succeeded"


def test_a_client_in_a_program_takes_the_files_from_the_environment_where_its_url_is_for_tls(
    folder: Path, tls_node: Node, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**variables(member(folder, "client")), **key_files(tmp_path / "keys", "client").environment()}
    for name, path in given.items():
        monkeypatch.setenv(name, path)
    for url in (f"{tls_node.address}/", node.url("client")):
        with Client.connect(url) as client:
            assert client._own is not None
            assert client._own.user == "client"


def test_a_simulation_runs_whatever_certificates_are_set_for_the_real_broker(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = small(tmp_path, max_epochs=2)
    with (tmp_path / "bank.toml").open("a") as file:
        file.write('[broker]\nurl = "amqps://broker.example/"\nca = "tls/ca.pem"\n')
    for name, path in variables(member(folder, "client")).items():
        monkeypatch.setenv(name, path)
    assert federation.run("amqp")["state"] == "succeeded"


def test_a_command_ends_at_once_and_a_service_waits_until_it_is_mended(
    folder: Path, foreign: Path, tls_node: Node, tmp_path: Path
) -> None:
    given = {"FEDBUS_AMQP_URL": f"{tls_node.address}/", **variables(member(folder, "shop"))}
    ca = Path(shutil.copy(member(foreign, "shop") / CA, tmp_path / CA))
    given["FEDBUS_AMQP_CA"] = str(ca)
    wrong = f"is of no authority in FEDBUS_AMQP_CA: {ca}"
    own = key_files(tmp_path / "keys", "shop").environment()
    asking = {**given, **variables(member(folder, "client")), "FEDBUS_AMQP_CA": str(ca)}
    ended = _fedbus("jobs", **asking, **key_files(tmp_path / "client", "client").environment())
    assert ended.returncode == Status.BROKER
    assert wrong in ended.stderr

    small(tmp_path)
    service = subprocess.Popen(
        [*script("fedbus-party"), "--config", str(tmp_path / "shop.toml"), "--until-end-of-input"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **given, **own},
    )
    assert service.stderr is not None
    assert service.stdout is not None
    try:
        line = next(line for line in service.stderr if "no connection to RabbitMQ" in line)
        assert wrong in line
        shutil.copy(member(folder, "shop") / CA, ca)
        assert "serving" in service.stdout.readline()
    finally:
        service.kill()
        service.communicate()


def test_a_process_with_another_member_s_certificate_ends_with_whose_it_is(
    folder: Path, tls_node: Node, tmp_path: Path
) -> None:
    small(tmp_path)
    given = {"FEDBUS_AMQP_URL": f"{tls_node.address}/", **variables(member(folder, "bank"))}
    given |= key_files(tmp_path / "keys", "shop").environment()
    ended = _fedbus("--config", str(tmp_path / "shop.toml"), command="fedbus-party", **given)
    assert ended.returncode == Status.CONFIGURATION
    assert "name: 'shop', but the broker's URL, or the certificate in its place, is of user 'bank'" in ended.stderr


def _fedbus(*arguments: str, command: str = "fedbus", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*script(command), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT,
        env={**os.environ, **environment},
        check=False,
    )
