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


def check(federation: Federation, *files: Path, command: str = "check", options: tuple[str, ...] = ()) -> str:
    """What the command prints; its error is raised."""
    named = [word for file in files for word in ("--party", str(file))]
    arguments = [command, str(federation.job_file), *named, *options]
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
    with pytest.raises(ConfigError) as caught:
        check(federation, file)
    assert str(caught.value) == (
        f"{federation.job_file}: hosts[0].party: 'bank' is the name of no party file here; the nearest is 'bonk', the"
        f" name in {file}: write the two alike"
    )
    file.write_text(file.read_text().replace('"bonk"', '"zzz"'))
    with pytest.raises(ConfigError) as caught:
        check(federation, file)
    assert str(caught.value) == (
        f"{file}: name: 'zzz' has no part in the job; the parties of {federation.job_file} are 'shop' and 'bank'"
    )


def test_a_party_of_the_job_that_no_file_describes_is_named_with_its_key(federation: Federation) -> None:
    job, files = federation.job_file, federation.files
    job.write_text(job.read_text().replace('party = "bank"', 'party = "bnak"'))
    for command in ("check", "simulate"):
        with pytest.raises(ConfigError) as caught:
            check(federation, *files, command=command)
        assert str(caught.value).startswith(
            f"{job}: hosts[0].party: 'bnak' is the name of no party file here; the nearest is 'bank', the name in"
        )
    # Of two that are left over, one of each, the names need not be alike.
    job.write_text(job.read_text().replace('"bnak"', '"zzz"'))
    with pytest.raises(ConfigError, match=r"hosts\[0\].party: 'zzz' is the name of no .* is 'bank', the name in"):
        check(federation, *files)


def test_a_party_without_its_file_in_a_simulation_is_named_with_its_key(federation: Federation) -> None:
    with pytest.raises(ConfigError) as caught:
        check(federation, federation.files[0], command="simulate")
    assert str(caught.value) == (
        f"{federation.job_file}: hosts[0].party: no party file of 'bank' is given by --party; given: shop"
    )


def test_files_of_the_wrong_kind_are_told_apart(federation: Federation) -> None:
    with pytest.raises(ConfigError, match="this is a job file"):
        check(federation, federation.job_file)
    federation.job_file.write_text((federation.folder / "bank.toml").read_text())
    with pytest.raises(ConfigError, match="this is a party file"):
        check(federation)


def test_a_table_that_no_job_could_take_is_refused(federation: Federation) -> None:
    bank, table = federation.folder / "bank.toml", federation.folder / "bank.csv"
    allow_short_keys(bank)
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header + ",flat", *(f"{row},1" for row in rows)]) + "\n")
    with pytest.raises(DataError, match="'flat' has the same value in all 48 rows"):
        check(federation, bank)
    table.write_text("\n".join([header, *rows[:7]]) + "\n")
    with pytest.raises(JobRefused, match=r"bank\.toml: .*7 rows.*min_aligned_rows"):
        check(federation, bank)


def test_a_plan_says_what_each_role_takes_and_learns(federation: Federation) -> None:
    printed = check(federation, command="plan", options=("--rows", "500", "--columns", "shop=2", "--columns", "bank=3"))
    assert "500 common rows; columns: shop 2, bank 3" in printed
    assert "12 rounds" not in printed, "the job's solver is sgd"
    assert "50 rounds (assumed" in printed
    for role in ("shop", "bank", "coordinator"):
        assert f"{role} learns" in printed
    assert "scores of held-out rows" not in printed


def test_a_plan_of_party_files_counts_their_rows(federation: Federation) -> None:
    for file in federation.files:
        allow_short_keys(file)
    assert "at most 48 common rows; columns: shop 2, bank 2" in check(federation, *federation.files, command="plan")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--rows", "500", "--columns", "shop=2"), "missing: bank"),
        (("--rows", "500", "--columns", "shop=2", "--columns", "bonk=2"), "did you mean 'bank'"),
        (("--columns", "shop=2", "--columns", "bank=2"), "missing: rows"),
        (("--rows", "500", "--columns", "shop=none"), "PARTY=NUMBER"),
    ],
)
def test_a_plan_says_what_it_lacks(federation: Federation, options: tuple[str, ...], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        check(federation, command="plan", options=options)


def test_a_plan_of_a_job_that_would_give_rows_away_is_refused(federation: Federation) -> None:
    with pytest.raises(JobRefused, match="that takes at least 42 rows"):
        check(federation, command="plan", options=("--rows", "41", "--columns", "shop=2", "--columns", "bank=40"))
