"""A folder of certificates: what is in it, what a second run changes, and what it never overwrites."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedbus.certificates.folder import AUTHORITY_DAYS, Provided, provide
from fedbus.errors import ConfigError

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def run(folder: Path, *members: str, hosts: tuple[str, ...] = (), day: int = 0, days: int = 100) -> Provided:
    return provide(folder, hosts, members, days=days, renew_days=10, now=NOW + day * DAY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tls"
    run(made, "shop", "bank", hosts=("broker.example", "10.0.0.5"))
    return made


def certificate(place: Path, name: str = "certificate.pem") -> x509.Certificate:
    return x509.load_pem_x509_certificate((place / name).read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def usages(of: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(of.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_the_broker_s_certificate_is_for_its_hosts_and_only_serves(folder: Path) -> None:
    own = certificate(folder / "broker")
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.5", "127.0.0.1"]
    assert usages(own) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert own.not_valid_after_utc == NOW + 100 * DAY
    assert own.not_valid_before_utc < NOW


def test_a_member_s_certificate_is_of_its_name_and_only_logs_in(folder: Path) -> None:
    own = certificate(folder / "members" / "bank")
    assert own.subject.rfc4514_string() == "CN=bank"
    assert usages(own) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not own.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    own.verify_directly_issued_by(certificate(folder / "authority", "ca.pem"))


def test_the_authority_issues_no_authorities_and_its_key_is_in_one_place(folder: Path) -> None:
    of_authority = certificate(folder / "authority", "ca.pem").extensions
    limits = of_authority.get_extension_for_class(x509.BasicConstraints)
    assert (limits.value.ca, limits.value.path_length, limits.critical) == (True, 0, True)
    assert of_authority.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    key = (folder / "authority" / "ca.key").read_bytes()
    assert [name for name, data in contents(folder).items() if data == key] == ["authority/ca.key"]


def test_keys_are_private_and_no_two_are_equal(folder: Path) -> None:
    keys = [*folder.rglob("*key.pem"), *folder.rglob("*.key")]
    assert len({file.read_bytes() for file in keys}) == len(keys) == 4
    assert {file.stat().st_mode & 0o777 for file in keys} == {0o600}
    assert {(folder / place).stat().st_mode & 0o777 for place in ("authority", "broker", "members/bank")} == {0o700}


def test_a_second_run_adds_a_member_and_changes_nothing_else(folder: Path) -> None:
    before = contents(folder)
    done = run(folder, "carol", "bank", day=1)
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[1] for name in after.keys() - before.keys()} == {"carol"}
    assert done.authority.became == done.broker.became == "kept"
    assert {name: entry.became for name, entry in done.members.items()} == {
        "bank": "kept",
        "carol": "made",
        "shop": "kept",
    }


def test_what_ends_soon_is_renewed_with_its_key(folder: Path) -> None:
    run(folder, "carol", day=50)
    before = contents(folder)
    done = run(folder, day=91)
    after = contents(folder)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"{place}/certificate.pem" for place in ("broker", "members/shop", "members/bank")}
    assert (done.broker.became, done.members["bank"].became, done.members["carol"].became) == (
        "renewed",
        "renewed",
        "kept",
    )
    assert done.hosts == ["broker.example", "10.0.0.5", "127.0.0.1"]
    assert certificate(folder / "members" / "bank").not_valid_after_utc == NOW + 191 * DAY


def test_one_more_host_renews_the_broker_s_certificate_alone(folder: Path) -> None:
    before = contents(folder)
    done = run(folder, hosts=("other.example",), day=1)
    after = contents(folder)
    assert {name for name in before if before[name] != after[name]} == {"broker/certificate.pem"}
    assert set(done.hosts) == {"broker.example", "10.0.0.5", "127.0.0.1", "other.example"}


def test_nothing_outlives_the_authority_and_is_renewed_again_and_again_for_it(folder: Path) -> None:
    end = certificate(folder / "authority", "ca.pem").not_valid_after_utc
    day = AUTHORITY_DAYS - 5
    assert run(folder, day=day).members["bank"].ends == end
    assert run(folder, day=day + 1).members["bank"].became == "kept"
    with pytest.raises(ConfigError, match=r"ca\.pem: ended at .* name a new folder"):
        run(folder, day=AUTHORITY_DAYS)


@pytest.mark.parametrize(
    ("lost", "error"),
    [
        ("authority", "put the folder .* back from where it is kept, or name a new folder"),
        ("authority/ca.pem", "put the folder .* back"),
        ("authority/ca.key", r"ca\.key: no such file"),
        ("members/bank/key.pem", r"key\.pem: is missing; put it back, or remove"),
    ],
)
def test_what_is_missing_is_not_made_anew_where_others_rely_on_it(folder: Path, lost: str, error: str) -> None:
    place = folder / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    before = contents(folder)
    with pytest.raises(ConfigError, match=error):
        run(folder, "carol", day=1)
    assert contents(folder) == {**before, **{n: d for n, d in contents(folder).items() if n.startswith("members/a")}}
    assert not place.exists()


@pytest.mark.parametrize(
    ("file", "text", "error"),
    [
        ("authority/ca.key", "broker/key.pem", "is not the key of"),
        ("authority/ca.key", "", "is no key that `fedbus tls` made"),
        ("authority/ca.pem", "", "is no certificate"),
        ("members/bank/key.pem", "members/shop/key.pem", "is not the key of .*; remove both for a new pair"),
    ],
)
def test_files_that_do_not_belong_together_are_told_and_left(folder: Path, file: str, text: str, error: str) -> None:
    (folder / file).write_bytes((folder / text).read_bytes() if text else b"nothing\n")
    before = contents(folder)
    with pytest.raises(ConfigError, match=error):
        run(folder, day=95)
    assert contents(folder)[file] == before[file]


def test_certificates_of_another_authority_are_not_taken_over(folder: Path, tmp_path: Path) -> None:
    run(tmp_path / "other", "bank", hosts=("h",))
    shutil.rmtree(folder / "members" / "bank")
    shutil.copytree(tmp_path / "other" / "members" / "bank", folder / "members" / "bank")
    with pytest.raises(ConfigError, match=r"is of another authority than authority/ca\.pem; move .*bank away"):
        run(folder, day=1)


def test_a_key_of_the_authority_that_others_may_read_signs_nothing(folder: Path) -> None:
    (folder / "authority" / "ca.key").chmod(0o640)
    with pytest.raises(ConfigError, match=r"others may read \(mode 0640\); chmod 600"):
        run(folder, "carol", day=1)
    assert not (folder / "members" / "carol").exists()


def test_a_run_that_was_killed_is_completed_by_the_next(folder: Path) -> None:
    (folder / "members" / "bank" / "certificate.pem").unlink()
    for place in ("broker", "members"):
        shutil.move(folder / place, folder.parent / f"kept-{place}")
    (folder / "authority" / "ca.pem").unlink()
    key = (folder / "authority" / "ca.key").read_bytes()
    assert run(folder, "bank", hosts=("h",)).authority.became == "made"
    assert (folder / "authority" / "ca.key").read_bytes() == key
    bank = folder / "members" / "bank"
    key = (bank / "key.pem").read_bytes()
    (bank / "certificate.pem").unlink()
    assert run(folder).members["bank"].became == "made"
    assert (bank / "key.pem").read_bytes() == key


def test_a_first_run_wants_to_know_where_the_broker_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--broker: missing"):
        run(tmp_path / "tls", "bank")
