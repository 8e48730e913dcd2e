"""Party and coordinator files, and the environment over them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from fedbus import environment, settings
from fedbus.errors import ConfigError
from fedbus.identity import Role

PARTY = 'name = "bank"\nstate = "state/bank.db"\n[broker]\nurl = "amqp://u:secret@h/"\n'
DATASET = '[datasets.users]\nsource = "users.csv"\nid = "user_id"\n'


@pytest.fixture
def party(tmp_path: Path) -> Path:
    file = tmp_path / "bank.toml"
    file.write_text(PARTY + DATASET)
    return file


def test_paths_are_relative_to_the_file(party: Path) -> None:
    read = settings.load_party(party, {})
    assert read.path(read.state) == party.parent / "state/bank.db"
    assert read.path(read.datasets["users"].source) == party.parent / "users.csv"
    assert read.broker.verify_sender


def test_the_environment_wins(party: Path, tmp_path: Path) -> None:
    environment = {
        "FEDBUS_AMQP_URL": "amqps://other:pw@host:5671/v",
        "FEDBUS_METRICS_ADDRESS": "127.0.0.1:9",
        "FEDBUS_PROCESSES": "0",
        "FEDBUS_VERIFY_SENDER": "false",
    }
    read = settings.load_party(party, environment)
    assert read.broker.url == environment["FEDBUS_AMQP_URL"]
    assert read.metrics.address == "127.0.0.1:9"
    assert read.processes == 0
    assert not read.broker.verify_sender


def test_the_url_comes_from_a_file_too(party: Path, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("amqp://bank:pw@rabbit/\n")
    assert settings.load_party(party, {"FEDBUS_AMQP_URL_FILE": str(secret)}).broker.url == "amqp://bank:pw@rabbit/"
    with pytest.raises(ConfigError, match="FEDBUS_AMQP_URL_FILE"):
        settings.load_party(party, {"FEDBUS_AMQP_URL_FILE": str(tmp_path / "nothing")})


def test_the_files_for_tls_are_relative_to_the_file_and_the_environment_wins(party: Path, tmp_path: Path) -> None:
    party.write_text(PARTY.replace("amqp:", "amqps:") + 'ca = "tls/ca.pem"\nkey = "/etc/bank.pem"\n' + DATASET)
    tls = settings.load_party(party, {}).broker.tls
    assert str(tls.ca) == f"{party}: broker.ca: {tmp_path}/tls/ca.pem"
    assert str(tls.key) == f"{party}: broker.key: /etc/bank.pem"
    assert tls.certificate is None
    variables = {"FEDBUS_AMQP_CA": "other.pem", "FEDBUS_AMQP_CERTIFICATE": f"{tmp_path}/own.pem"}
    tls = settings.load_party(party, variables).broker.tls
    assert str(tls.ca) == f"FEDBUS_AMQP_CA: {Path.cwd().resolve()}/other.pem"
    assert str(tls.certificate) == f"FEDBUS_AMQP_CERTIFICATE: {tmp_path.resolve()}/own.pem"
    assert str(tls.key) == f"{party}: broker.key: /etc/bank.pem"
    coordinator = settings.load_coordinator(None, variables).broker.tls
    assert str(coordinator.ca) == str(environment.broker_tls(variables).ca) == str(tls.ca)
    assert not environment.broker_tls({})


def test_a_simulation_s_broker_has_no_use_for_the_files_of_another(party: Path, tmp_path: Path) -> None:
    party.write_text(PARTY.replace("amqp:", "amqps:") + 'ca = "tls/ca.pem"\n' + DATASET)
    given = {"FEDBUS_AMQP_CA": str(tmp_path / "ca.pem"), "FEDBUS_AMQP_URL": "amqps://h/", "FEDBUS_SIMULATION": "true"}
    private = environment.with_broker("amqp://u:pw@127.0.0.1:5/", given)
    read = settings.load_party(party, private).broker
    assert (read.url, read.ca) == ("amqp://u:pw@127.0.0.1:5/", "")
    assert not read.tls
    shared = settings.load_party(party, environment.with_broker("amqps://u:pw@h/", given)).broker
    assert str(shared.tls.ca) == f"FEDBUS_AMQP_CA: {tmp_path.resolve()}/ca.pem"


def test_no_setting_switches_the_verification_of_certificates_off(party: Path) -> None:
    for key in ("verify", "insecure", "verify_peer"):
        party.write_text(PARTY + f"{key} = false\n" + DATASET)
        with pytest.raises(ConfigError, match=f"unknown key 'broker.{key}'"):
            settings.load_party(party, {})
    party.write_text(PARTY + DATASET)
    url = "amqps://u:secret@h/?ssl_options={'ca_certs':None}"
    with pytest.raises(ConfigError, match="FEDBUS_AMQP_URL: ssl_options is not taken from a URL") as caught:
        settings.load_party(party, {"FEDBUS_AMQP_URL": url})
    assert "secret" not in str(caught.value)


def test_only_a_simulation_allows_short_keys_where_a_file_is_silent(party: Path) -> None:
    simulation = {"FEDBUS_SIMULATION": "true"}
    assert "insecure_for_tests" not in settings.load_party(party, {}).policy
    assert settings.load_party(party, simulation).policy["insecure_for_tests"] is True
    assert settings.load_party(party, simulation).simulation
    assert not settings.load_party(party, {}).simulation
    party.write_text(PARTY + "[policy]\ninsecure_for_tests = false\n")
    assert settings.load_party(party, simulation).policy["insecure_for_tests"] is False


@pytest.mark.parametrize(
    "url", ["http://u:secret@h/", "amqp://", "secret", "amqp://u:secret@h:0/", "amqp://u:secret@h:x/"]
)
def test_a_wrong_url_is_refused_without_repeating_it(party: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="FEDBUS_AMQP_URL: not a broker URL") as caught:
        settings.load_party(party, {"FEDBUS_AMQP_URL": url})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("password", ["p@ss/w#rd", "pa/ss", "pa?ss", "pa#ss", "p@ss", "s3 cret"])
def test_a_password_that_is_not_encoded_is_refused_with_how_to_write_it(password: str) -> None:
    url = f"amqp://client:{password}@127.0.0.1:5672/"
    with pytest.raises(ConfigError, match=r"FEDBUS_AMQP_URL: .*%") as caught:
        environment.broker_url({"FEDBUS_AMQP_URL": url})
    assert not any(part in str(caught.value) for part in (password, "client", "127.0.0.1"))
    encoded = f"amqp://client:{quote(password, safe='')}@127.0.0.1:5672/"
    assert environment.broker_url({"FEDBUS_AMQP_URL": encoded}) == encoded


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (PARTY.replace("state =", "stat ="), "unknown key 'stat'; did you mean 'state'"),
        (PARTY + DATASET.replace("source", "sauce"), r"unknown key 'datasets\.users\.sauce'; did you mean 'source'"),
        (PARTY + DATASET.replace('id = "user_id"', ""), "datasets\\.users: missing key 'id'"),
        (PARTY.replace('"bank"', '"Bank"'), "name"),
        (PARTY + "heartbeat = 0\n", "broker.heartbeat"),
        (PARTY.replace("amqp:", "ampq:"), "broker.url: not a broker URL"),
        ('folder = "/"\n' + PARTY, "unknown key 'folder'"),
        ("simulation = true\n" + PARTY, "unknown key 'simulation'"),
        ('name = "j"\nalgorithm = "vertical-linear"\n', "this is a job file"),
    ],
)
def test_a_wrong_file_is_refused_by_key(tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "bank.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=error) as caught:
        settings.load_party(file, {})
    assert str(file) in str(caught.value)


def test_a_coordinator_needs_no_file() -> None:
    read = settings.load_coordinator(None, {"FEDBUS_AMQP_URL": "amqp://c:p@h/"})
    assert read.name == "coordinator"
    assert read.path(read.state).is_absolute()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (PARTY + DATASET, "this is a party file, as its 'datasets' shows, which `fedbus-party` serves"),
        ('name = "c"\n[outputs]\nfolder = "o"\n', "this is a party file, as its 'outputs' shows"),
        ('name = "j"\nalgorithm = "vertical-linear"\n', "this is a job file"),
        ("xyz = 1\n", "known: broker, identity, metrics, name, operators, parties, processes, roster, state$"),
    ],
)
def test_what_is_no_coordinator_file_is_told_as_what_it_is(tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "file.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=error) as caught:
        settings.load_coordinator(file, {})
    assert str(file) in str(caught.value)


def test_both_sides_name_their_identity_and_roster(tmp_path: Path) -> None:
    lines = 'identity = "state/own.key"\nroster = "roster.toml"\n'
    party, coordinator = tmp_path / "bank.toml", tmp_path / "coordinator.toml"
    party.write_text(lines + PARTY + DATASET)
    coordinator.write_text(lines + 'parties = ["bank"]\n')
    for read in (settings.load_party(party, {}), settings.load_coordinator(coordinator, {})):
        assert read.path(read.identity) == tmp_path / "state/own.key"
        assert read.path(read.roster) == tmp_path / "roster.toml"
    elsewhere = {"FEDBUS_IDENTITY": "/run/own.key", "FEDBUS_ROSTER": "/run/roster.toml"}
    for read in (
        settings.load_party(party, elsewhere),
        settings.load_coordinator(coordinator, elsewhere),
        settings.load_coordinator(None, elsewhere),
    ):
        assert (read.identity, read.roster) == ("/run/own.key", "/run/roster.toml")
    assert environment.key_files(elsewhere) == (Path("/run/own.key"), Path("/run/roster.toml"))
    assert environment.key_files({"FEDBUS_ROSTER": "r"}) == (None, Path("r"))


def test_a_file_says_whose_it_is(tmp_path: Path) -> None:
    party, coordinator, neither = (tmp_path / f"{name}.toml" for name in ("bank", "c", "n"))
    party.write_text(PARTY + DATASET)
    coordinator.write_text('name = "c"\noperators = ["olga"]\n')
    neither.write_text('name = "n"\nstate = "n.db"\n')
    assert [settings.load_member(file)[1] for file in (party, coordinator)] == [Role.PARTY, Role.COORDINATOR]
    assert [settings.load_member(file)[0].name for file in (party, coordinator)] == ["bank", "c"]
    with pytest.raises(ConfigError, match=r"n.toml: is it a party file or a coordinator file\?"):
        settings.load_member(neither)
    neither.write_text('name = "j"\nalgorithm = "fedavg"\n')
    with pytest.raises(ConfigError, match="this is a job file"):
        settings.load_member(neither)


def test_a_party_file_is_told_the_keys_that_it_may_have(tmp_path: Path) -> None:
    file = tmp_path / "bank.toml"
    file.write_text("xyz = 1\n" + PARTY)
    known = "broker, datasets, identity, metrics, name, outputs, policy, processes, roster, state"
    with pytest.raises(ConfigError, match=f"known: {known}$"):
        settings.load_party(file, {})


def test_wrong_variables_are_named(party: Path) -> None:
    with pytest.raises(ConfigError, match="FEDBUS_PROCESSES"):
        settings.load_party(party, {"FEDBUS_PROCESSES": "many"})
    with pytest.raises(ConfigError, match="FEDBUS_LOG"):
        environment.log_format({"FEDBUS_LOG": "loud"})
    assert environment.log_format({"FEDBUS_LOG": "warning,json"}) == ("warning", True)


NO_TABLES = ['"amqp://shop:geheim@127.0.0.1/"', "[1, 2]", "7", "true", "1979-05-27", "[[]]", "inf", "[{ url = 1 }]"]
VARIABLES = {
    "FEDBUS_AMQP_URL": "amqp://shop:geheim@127.0.0.1/",
    "FEDBUS_METRICS_ADDRESS": "127.0.0.1:0",
    "FEDBUS_VERIFY_SENDER": "false",
}


@pytest.mark.parametrize("environment", [{}, VARIABLES, VARIABLES | {"FEDBUS_SIMULATION": "true"}], ids=len)
@pytest.mark.parametrize("key", ["broker", "metrics", "policy", "datasets", "datasets.rows"])
def test_what_is_no_table_is_told_with_its_key(tmp_path: Path, key: str, environment: dict[str, str]) -> None:
    file = tmp_path / "shop.toml"
    for value in NO_TABLES:
        file.write_text(f'{key} = {value}\nname = "shop"\nstate = "shop.db"\n')
        with pytest.raises(ConfigError, match=rf"shop\.toml: {key}: Expected a table, got (a|an|true or) ") as raised:
            settings.load_party(file, environment)
        assert f"[{key}] begins it" in str(raised.value)
        assert "geheim" not in str(raised.value)
        if key in ("broker", "metrics"):
            with pytest.raises(ConfigError, match=rf"shop\.toml: {key}: Expected a table"):
                settings.load_coordinator(file, environment)
