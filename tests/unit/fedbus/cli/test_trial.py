"""`fedbus new`: a federation in a folder that nobody else may look into, and what it refuses."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from fedbus import settings
from fedbus.algorithms import registry
from fedbus.broker.node.definitions import password_hash
from fedbus.certificates.files import NamedFile, TlsFiles
from fedbus.cli import app
from fedbus.credentials import Credentials
from fedbus.environment import of_member
from fedbus.errors import ConfigError, DataError
from fedbus.identity import Role
from fedbus.trial.layout import TrialFolder, load
from places import DATA

MEMBERS = ("--party", "shop", "--party", "bank", "--client", "olga")
PRODUCTS, USERS = DATA / "sample" / "products.csv", DATA / "sample" / "users.csv"
ROWS = DATA / "sample_rows"


def run(folder: Path, *options: str, command: str = "new") -> Result:
    result = CliRunner().invoke(app, [command, str(folder), *options])
    if result.exception is not None:
        raise result.exception
    return result


def modes(folder: Path) -> set[tuple[bool, int]]:
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (folder, *folder.rglob("*"))}


@pytest.mark.parametrize("options", [(), ("--tls",)])
def test_nobody_else_may_look_into_it_and_nothing_secret_is_printed(tmp_path: Path, options: tuple[str, ...]) -> None:
    folder = tmp_path / "trial"
    folder.mkdir(mode=0o755)
    said = run(folder, *MEMBERS, *options).output
    assert modes(folder) == {(True, 0o700), (False, 0o600)}
    for name in ("coordinator", "shop", "bank", "olga"):
        password = urlsplit(TrialFolder(folder).own(name, ".url").read_text().strip()).password
        assert (password is None) == bool(options)
        assert password is None or password not in said
    assert "private" not in said


def test_every_member_is_on_every_roster_by_its_own_key_and_knows_its_own_password_alone(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    run(folder, *MEMBERS, "--port", "5999")
    layout = TrialFolder(folder)
    users = {user["name"]: user["password_hash"] for user in json.loads(layout.definitions.read_text())["users"]}
    assert set(users) == {"coordinator", "shop", "bank", "olga"}
    passwords = set()
    for name, role in load(folder).roles.items():
        known = Credentials.load(role, layout.own(name, ".key"), layout.roster(name), name)
        assert {each: known.roster.role(each) for each in known.roster.names} == load(folder).roles
        url = urlsplit(layout.own(name, ".url").read_text().strip())
        assert (url.username, url.hostname, url.port) == (name, "127.0.0.1", 5999)
        assert url.password is not None
        passwords.add(url.password)
        assert password_hash(url.password, _salt(users[name])) == users[name]
    assert len(passwords) == 4
    assert not any(password in layout.definitions.read_text() for password in passwords)


def _salt(hashed: str) -> bytes:
    return base64.b64decode(hashed)[:4]


def test_members_files_are_taken_as_they_are_and_name_what_lies_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    run(folder, *MEMBERS, "--coordinator", "lead", "--tls")
    layout = TrialFolder(folder)
    coordinator = settings.load_coordinator(layout.own("lead", ".toml"), of_member(layout.own("lead", ".url")))
    assert (coordinator.name, coordinator.parties, coordinator.operators) == ("lead", ("shop", "bank"), ("olga",))
    for name in ("lead", "shop"):
        member, role = settings.load_member(layout.own(name, ".toml"))
        assert (member.name, role) == (name, Role.COORDINATOR if name == "lead" else Role.PARTY)
        assert member.path(member.identity).is_file()
        assert member.path(member.roster).is_file()
        assert member.broker.tls.check() == name
    variables = dict(
        line.removeprefix("export ").split("=", 1)
        for line in layout.own("olga", ".sh").read_text().splitlines()
        if line.startswith("export ")
    )
    own = {key: NamedFile(Path(variables[f"FEDBUS_AMQP_{key.upper()}"]), key) for key in ("ca", "certificate", "key")}
    assert TlsFiles(**own).check() == "olga"
    assert all(Path(file).is_file() for file in variables.values())


def test_tables_make_job_files_that_are_complete(tmp_path: Path) -> None:
    folder = tmp_path / "vertical"
    run(folder, *MEMBERS, "--data", f"bank={USERS}", "--data", f"shop={PRODUCTS}", "--label", "MEDV")
    assert [file.name for file in folder.glob("olga/*.toml") if file.name != "roster.toml"] == ["vertical-linear.toml"]
    spec = registry.load(folder / "olga" / "vertical-linear.toml")
    assert (spec.parties, spec.label_of("shop")) == (("shop", "bank"), "MEDV")
    parties = [f"{folder}/{party}/{party}.toml" for party in ("shop", "bank")]
    checked = CliRunner().invoke(
        app, ["check", str(folder / "olga" / "vertical-linear.toml"), *(f"--party={file}" for file in parties)]
    )
    assert (checked.exit_code, "in common: 327 rows" in checked.output) == (0, True), checked.output


def test_tables_of_the_same_columns_make_a_job_of_averaging(tmp_path: Path) -> None:
    data = ("--data", f"bank={ROWS / 'bob.csv'}", "--data", f"shop={ROWS / 'alice.csv'}", "--id", "tract")
    folder = tmp_path / "horizontal"
    run(folder, *MEMBERS, *data, "--label", "MEDV")
    assert [file.name for file in folder.glob("olga/*.toml") if file.name != "roster.toml"] == ["fedavg.toml"]
    assert registry.load(folder / "olga" / "fedavg.toml").parties == ("shop", "bank")


def test_without_tables_there_is_a_draft_of_every_algorithm_and_a_comment_that_shows_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    said = run(folder, *MEMBERS).output
    drafts = {file.stem for file in folder.glob("olga/*.toml")} - {"roster"}
    assert drafts == set(registry.named())
    for draft in drafts:
        assert "LABEL" in str(registry.load(folder / "olga" / f"{draft}.toml").to_map())
    file = folder / "shop" / "shop.toml"
    assert f"{folder}/shop/shop.toml" in said
    assert not settings.load_party(file).datasets
    shown = file.read_text()
    for line in ("[datasets.", "source =", "id ="):
        shown = shown.replace(f"# {line}", line)
    file.write_text(shown)
    assert settings.load_party(file).datasets["table"].id == "id"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--party", "shop", "--client", "olga"), "--party: name two at least"),
        ((*MEMBERS, "--party", "Shop"), "--party Shop: a name has small letters"),
        ((*MEMBERS, "--party", "olga"), "--client olga: is named already, as a party"),
        ((*MEMBERS, "--client", "coordinator"), "--client coordinator: is named already, as a coordinator"),
        ((*MEMBERS, "--party", "logs"), "--party logs: the trial has a folder of that name"),
        ((*MEMBERS, "--party", "../x"), "--party ../x: a name has small letters"),
        ((*MEMBERS, "--label", "MEDV"), "--label MEDV: has no effect without --data"),
        ((*MEMBERS, "--data", "products.csv"), "--data products.csv: write it as PARTY=FILE"),
        ((*MEMBERS, "--data", f"south={PRODUCTS}"), "'south' is no party here"),
        ((*MEMBERS, "--data", f"shop={PRODUCTS}"), "--id: missing"),
        ((*MEMBERS, "--data", f"shop={PRODUCTS}", "--id", "nr"), "--id nr: "),
        (
            (*MEMBERS, "--data", f"shop={PRODUCTS}", "--data", f"bank={USERS}", "--label", "medv"),
            "--label medv: has to be a column of one party's table",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path: Path, options: tuple[str, ...], error: str) -> None:
    with pytest.raises(ConfigError) as refused:
        run(tmp_path / "trial", *options)
    assert error in str(refused.value)
    assert not (tmp_path / "trial").exists()


def test_a_table_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data shop=.*none\.csv: none\.csv: not found"):
        run(tmp_path / "trial", *MEMBERS, "--data", f"shop={tmp_path / 'none.csv'}")


def test_a_folder_with_anything_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ConfigError, match="is not empty; name a new folder"):
        run(tmp_path, *MEMBERS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_is_no_trial_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no folder of a trial, it has no trial\.toml"):
        run(tmp_path, command="up")
    run(tmp_path / "trial", *MEMBERS)
    (tmp_path / "trial" / "shop" / "shop.toml").write_text('name = "shop"\nstat = "x"\n')
    with pytest.raises(ConfigError, match=r"shop\.toml: .*'stat'"):
        run(tmp_path / "trial", command="up")
