"""`fedbus check`: what a party's operator sees before a job is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedbus.cli import app
from fedbus.errors import ConfigError, DataError, JobRefused
from federation import Federation, synthetic


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    made = synthetic(tmp_path)
    made.write_job()
    return made


def check(federation: Federation, *files: Path) -> str:
    """What the command prints; its error is raised."""
    arguments = ["check", str(federation.job_file), *(word for file in files for word in ("--party", str(file)))]
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


def allow_short_keys(file: Path) -> None:
    file.write_text(file.read_text() + "[policy]\ninsecure_for_tests = true\n")


def test_a_sound_job_and_a_sound_party(federation: Federation) -> None:
    bank = federation.folder / "bank.toml"
    allow_short_keys(bank)
    printed = check(federation, bank)
    assert f"{federation.job_file}: vertical-linear with shop, bank: sound" in printed
    assert f"{bank}: 48 rows of 2 features: sound" in printed


def test_the_policy_is_held_against_the_job(federation: Federation) -> None:
    with pytest.raises(JobRefused, match="insecure_for_tests"):
        check(federation, federation.folder / "bank.toml")


def test_the_data_are_read(federation: Federation) -> None:
    bank = federation.folder / "bank.toml"
    allow_short_keys(bank)
    table = federation.folder / "bank.csv"
    table.write_text(table.read_text() + "id9999,x,1\n")
    with pytest.raises(DataError, match=r"bank\.csv: column 'a', row 50"):
        check(federation, bank)


def test_a_party_without_a_part_is_named_with_the_nearest(federation: Federation) -> None:
    file = federation.folder / "bank.toml"
    file.write_text(file.read_text().replace('"bank"', '"bonk"'))
    with pytest.raises(ConfigError, match="'bonk' has no part in the job; did you mean 'bank'"):
        check(federation, file)


def test_files_of_the_wrong_kind_are_told_apart(federation: Federation) -> None:
    with pytest.raises(ConfigError, match="this is a job file"):
        check(federation, federation.job_file)
    federation.job_file.write_text((federation.folder / "bank.toml").read_text())
    with pytest.raises(ConfigError, match="this is a party file"):
        check(federation)
