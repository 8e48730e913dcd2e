"""Files of settings, as editors of several systems write them."""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbus import environment, settings
from fedbus.algorithms import registry
from fedbus.errors import ConfigError
from fedbus.identity import Roster
from fedbus.schema import read_text, read_toml
from parties.policy import Policy

TEXT = 'name = "zürich"\r\nstate = "z.db"\r\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_editors_on_windows_write_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "party.toml"
    file.write_bytes(TEXT.encode(encoding))
    assert read_toml(file) == {"name": "zürich", "state": "z.db"}


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_both_orders_of_utf_16_are_read(tmp_path: Path, order: str) -> None:
    file = tmp_path / "party.toml"
    file.write_bytes(("\ufeff" + TEXT).encode(order))
    assert read_toml(file)["name"] == "zürich"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_the_broker_s_url_may_have_a_mark(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "shop.url"
    file.write_bytes("amqp://shop:pw@rabbit/\r\n".encode(encoding))
    assert environment.broker_url({"FEDBUS_AMQP_URL_FILE": str(file)}) == "amqp://shop:pw@rabbit/"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (TEXT.encode("latin-1"), "is not UTF-8 text (byte 10); save it as UTF-8"),
        ("name".encode("utf-16-le"), "is UTF-16 without its mark, or no text; save it as UTF-8"),
        ("\ufeffname".encode("utf-32-le"), "save it as UTF-8"),
        (b"\xff\xfen", "save it as UTF-8"),
        (b"a = " + b"[" * 100_000, "not valid TOML"),
        (b"#" * (16 * 1024**2 + 1), "is larger than 16 MiB"),
    ],
)
def test_what_is_no_such_text_gets_a_sentence(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "party.toml"
    file.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_toml(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert words in str(caught.value)


def test_an_error_shows_nothing_of_a_file_with_a_password(tmp_path: Path) -> None:
    file = tmp_path / "shop.url"
    file.write_bytes("amqp://shop:S3CR3T\xe9@rabbit/".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        environment.broker_url({"FEDBUS_AMQP_URL_FILE": str(file)})
    assert "FEDBUS_AMQP_URL_FILE" in str(caught.value)
    assert "S3CR3T" not in "".join(traceback.format_exception(caught.value))


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-16")))
def test_any_bytes_give_settings_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(data)
    for read in (read_text, read_toml, registry.load, lambda path: settings.load_party(path, {}), Roster.load):
        with contextlib.suppress(ConfigError):
            read(file)


DATASET = 'name = "bank"\nstate = "b.db"\n[datasets.users]\nsource = "u.csv"\nid = "id"\n'


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            'missing = "meen"',
            "datasets.users.missing: unknown 'meen'; did you mean 'mean'? "
            "known: error, drop, mean, median, zero, indicator",
        ),
        ('date_unit = "fortnights"', "datasets.users.date_unit: unknown 'fortnights'; known: days, hours, seconds"),
    ],
)
def test_a_value_that_is_none_of_a_few_is_told_with_the_nearest_and_all_of_them(
    tmp_path: Path, line: str, sentence: str
) -> None:
    file = tmp_path / "party.toml"
    file.write_text(f"{DATASET}{line}\n")
    with pytest.raises(ConfigError) as caught:
        settings.load_party(file, {})
    assert str(caught.value) == f"{file}: {sentence}"
    file.write_text(f"{DATASET}{line.partition('=')[0]} = 3\n")
    with pytest.raises(ConfigError, match=r"Expected a string, got a whole number"):
        settings.load_party(file, {})


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            'aggregations = ["masked", "plane"]',
            "policy.aggregations[1]: unknown 'plane'; did you mean 'plain'? known: masked, paillier, plain",
        ),
        (
            'algorithms = ["fedavgg"]',
            "policy.algorithms[0]: unknown 'fedavgg'; did you mean 'fedavg'? known: vertical-linear, fedavg",
        ),
    ],
)
def test_a_policy_allows_only_what_there_is(tmp_path: Path, line: str, sentence: str) -> None:
    file = tmp_path / "party.toml"
    file.write_text(f"{DATASET}[policy]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        Policy.of(settings.load_party(file, {}))
    assert str(caught.value) == f"{file}: {sentence}"


def test_what_a_name_may_be_is_said_in_words(tmp_path: Path) -> None:
    file = tmp_path / "party.toml"
    file.write_text('name = "Gym"\nstate = "gym.db"\n')
    with pytest.raises(ConfigError, match=r"party.toml: name: a name has lower-case letters, digits, _ and - only"):
        settings.load_party(file, {})
