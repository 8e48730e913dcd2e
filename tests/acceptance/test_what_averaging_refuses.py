"""What is wrong in a job of federated averaging is refused with a reason, and the rest goes on or ends clearly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from coordinator.sums.homomorphic import EncryptedSums
from fedbus.algorithms.fedavg.messages import Assignment
from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import MaskedUpdate
from fedbus.algorithms.sums.rules import channel_label
from fedbus.cli.local import check
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import ConfigError, DataError, JobRefused, TrainingDiverged
from fedbus.identity import Identity
from parties.fedavg import training
from parties.sums import channels
from parties.sums.masked import Masking
from rows import Rows, synthetic, write_party


def failed(rows: Rows, *words: str) -> None:
    report = rows.run()
    assert report["state"] == "failed", report
    for word in words:
        assert word in report["reason"], report["reason"]


def test_a_party_without_rows(tmp_path: Path) -> None:
    rows = synthetic(tmp_path)
    file = tmp_path / "carol_rows.csv"
    file.write_text(file.read_text().splitlines()[0] + "\n")
    failed(rows, "carol", "no data rows")


def test_a_party_with_fewer_rows_than_its_policy_asks_for(tmp_path: Path) -> None:
    # Carol has the most rows, and fewer held-out ones than she asks of those that she trains on.
    rows = synthetic(tmp_path, rounds=1)
    write_party(tmp_path, "carol", extra="[policy]\nmin_rows = 32\n")
    assert rows.run()["state"] == "succeeded"
    write_party(tmp_path, "carol", extra="[policy]\nmin_rows = 33\n")
    failed(rows, "carol: this party has 32 rows to train on", "(`min_rows`)")
    with pytest.raises(JobRefused, match=r"carol\.toml: .* 33 \(`min_rows`\)"):
        check(rows.write_job(), rows.files)


def test_parties_that_differ_in_their_columns(tmp_path: Path) -> None:
    rows = synthetic(tmp_path)
    file = tmp_path / "alice.toml"
    file.write_text(file.read_text().replace('id = "id"', 'id = "id"\ncolumns = ["b", "a", "c"]'))
    differs = (
        "column 1 is 'a' at bob and carol, 'b' at alice; rename it, or choose .* by `columns`, .* in the party files"
    )
    failed(
        rows,
        "column 1 is 'a' at bob and carol, 'b' at alice",
        "by `columns`, `levels` and `indicators` in the party files",
    )
    with pytest.raises(JobRefused, match=differs):
        check(rows.write_job(), rows.files)


@pytest.mark.parametrize(
    ("column", "bob", "alice", "told"),
    [
        (
            "when",
            'dates = ["when"]',
            'dates = ["when"]\ndate_unit = "hours"',
            "column 'when' is a date in days at bob and carol, a date in hours at alice",
        ),
        (
            "city",
            'levels = { city = ["w", "x", "other"] }',
            'levels = { city = ["z", "x", "other"] }',
            "column 'city=x' is against 'w' as the first level at bob and carol, against 'z' as the first level",
        ),
    ],
)
def test_columns_of_the_same_names_that_mean_other_things(
    tmp_path: Path, column: str, bob: str, alice: str, told: str
) -> None:
    rows = synthetic(tmp_path, rounds=1)
    rows.tested = False
    for party in rows.parties:
        file = tmp_path / f"{party}_rows.csv"
        header, *lines = file.read_text().splitlines()
        cells = [f"2020-01-{n % 28 + 1:02}" if column == "when" else "wxz"[n % 3] for n in range(len(lines))]
        text = [f"{header},{column}", *(f"{line},{cell}" for line, cell in zip(lines, cells, strict=True))]
        file.write_text("\n".join(text) + "\n")
        keys = alice if party == "alice" else bob
        party_file = tmp_path / f"{party}.toml"
        party_file.write_text(party_file.read_text().replace('id = "id"', f'id = "id"\n{keys}'))
    failed(rows, told)
    with pytest.raises(JobRefused, match=told):
        check(rows.write_job(), rows.files)


def test_labels_that_are_no_classes(tmp_path: Path) -> None:
    rows = synthetic(tmp_path, loss="bce")
    failed(rows, "labels are no class")


def test_an_aggregation_that_the_policy_does_not_allow(tmp_path: Path) -> None:
    rows = synthetic(tmp_path, aggregation="plain")
    file = tmp_path / "bob.toml"
    file.write_text(file.read_text().replace('"plain"', ""))
    failed(rows, "bob", "'plain'", "`aggregations`")


def test_a_factory_that_the_policy_does_not_list(tmp_path: Path) -> None:
    rows = synthetic(tmp_path)
    rows.write_job()
    text = rows.job_file.read_text().replace(f"layers = {rows.layers}", 'factory = "os:system"')
    rows.write_job = lambda: rows.job_file.write_text(text)  # type: ignore[method-assign, assignment, return-value]
    failed(rows, "os:system", "`models`")


def test_a_party_whose_key_is_not_on_the_others_roster(tmp_path: Path) -> None:
    rows = synthetic(tmp_path)
    rows.introduce()
    # Alice has another key by now, which nobody but she has on the roster.
    roster = (tmp_path / "roster.toml").read_text()
    (tmp_path / "alice.key").unlink()
    own = Identity.create(tmp_path / "alice.key").public
    lines = [f'alice = "{own}"' if line.startswith("alice") else line for line in roster.splitlines()]
    (tmp_path / "new.toml").write_text("\n".join(lines))
    file = tmp_path / "alice.toml"
    file.write_text(file.read_text().replace('roster = "roster.toml"', 'roster = "new.toml"'))
    failed(rows, "alice", "not signed by the key that the roster has")


def test_a_party_that_is_not_on_the_roster(tmp_path: Path) -> None:
    rows = synthetic(tmp_path)
    rows.introduce()
    lines = [line for line in (tmp_path / "roster.toml").read_text().splitlines() if not line.startswith("carol")]
    (tmp_path / "bobs.toml").write_text("\n".join(lines))
    file = tmp_path / "bob.toml"
    file.write_text(file.read_text().replace('roster = "roster.toml"', 'roster = "bobs.toml"'))
    failed(rows, "no key of carol, which takes part in the job")


def test_a_party_that_is_not_on_its_own_roster_does_not_start(tmp_path: Path) -> None:
    rows = synthetic(tmp_path)
    rows.introduce()
    roster = tmp_path / "roster.toml"
    roster.write_text("\n".join(line for line in roster.read_text().splitlines() if not line.startswith("carol")))
    with pytest.raises(ConfigError, match=r"members: has no carol with the key in .*carol.key; enter what `fedbus"):
        rows.run()


def test_a_network_that_diverges_at_one_party_leaves_that_party_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, train = synthetic(tmp_path), training.train
    carols = training.stream_of("carol", 2)

    def diverging(module: Any, features: Any, label: Any, params: Any, strategy: Any, stream: int) -> Any:
        if stream == carols:
            raise TrainingDiverged("training diverged: loss is not finite")
        return train(module, features, label, params, strategy, stream)

    monkeypatch.setattr(training, "train", diverging)
    report = rows.run()
    assert report["state"] == "succeeded", report
    assert report["missing"] == [0, 0, 1, 0]
    assert report["left_out"] == {"carol": "training diverged: loss is not finite; lower params.learning_rate"}
    assert report["took_part"] == {"bob": 4, "alice": 4, "carol": 3}
    diverged = (
        "round 3 and later ones are without carol: training diverged: loss is not finite; lower params.learning_rate"
    )
    assert rows.notices == [diverged, "carol takes part again"]


def test_a_network_that_diverges_at_all_parties_ends_the_job(tmp_path: Path) -> None:
    failed(synthetic(tmp_path, learning_rate=1e12), "training diverged", "params.learning_rate")


def test_an_update_of_another_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, answer = synthetic(tmp_path), Masking.answer

    def short(self: Masking, order: Assignment, vector: Any, seconds: float) -> Iterator[MaskedUpdate]:
        for message in answer(self, order, vector, seconds):
            cut = self._session.party == "carol" and order.task == "train"
            yield MaskedUpdate(message.residues[:-8] if cut else message.residues, seconds)

    monkeypatch.setattr(Masking, "answer", short)
    failed(rows, "carol sent a masked_update of another shape")


def test_shares_of_another_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = synthetic(tmp_path)

    def replayed(job: str, window: int, sender: str, recipient: str) -> bytes:
        return channel_label(job, window + (sender == "carol" and recipient == "bob"), sender, recipient)

    # Carol seals for bob what belongs to the next window; bob knows which one this is.
    monkeypatch.setattr(channels.Channels, "_label", lambda self, window, to: replayed(
        self._session.job, window.number, self._session.party, to
    ))  # fmt: skip
    report = rows.run()
    # The others go on: who of the two is wrong, nobody else can know.
    assert report["state"] == "succeeded", report
    assert report["members"] == [2] * 4
    assert "a secret of carol for bob is not" in report["left_out"]["bob"]
    # Nobody who reads the report, or follows the job, takes it for a model of all rows.
    assert report["took_part"] == {"bob": 0, "alice": 4, "carol": 4}
    assert [text for text in rows.notices if "round 1 and later ones are without bob: what came as a secret of" in text]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("conclude", "names task 'conclude', of which this job has no sum"),
        ("evaluate", "asks to open a sum of another length than agreed"),
    ],
)
def test_a_sum_that_comes_as_one_of_another_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], task: str, words: str
) -> None:
    rows = synthetic(tmp_path, aggregation="paillier", key_bits=512, insecure_for_tests=True, rounds=1)
    opened = EncryptedSums._open

    def renamed(self: EncryptedSums, total: CipherTensor, layout: SumLayout, survivors: Sequence[str]) -> np.ndarray:
        named = replace(layout, task=task) if layout.task == "train" else layout
        return opened(self, total, named, survivors)

    monkeypatch.setattr(EncryptedSums, "_open", renamed)
    failed(rows, "none of bob, alice, carol opened the sum")
    # One party after the other is asked, and its log says why it does not.
    assert capfd.readouterr().err.count(words) == 3


def test_what_the_coordinator_receives_of_one_party_is_uniform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, answer = synthetic(tmp_path, rounds=6), Masking.answer
    rows.layers = '[{ linear = 60 }, { activation = "tanh" }, { linear = 1 }]'
    masked, bare = bytearray(), bytearray()

    def seen(self: Masking, order: Assignment, vector: Any, seconds: float) -> Iterator[MaskedUpdate]:
        pieces = [(start, residues.copy()) for start, residues in vector]
        own = self._session.party == "bob" and order.task == "train"
        if own:
            bare.extend(b"".join(residues.tobytes() for _, residues in pieces))
        for message in answer(self, order, iter(pieces), seconds):
            if own:
                masked.extend(message.residues)
            yield message

    monkeypatch.setattr(Masking, "answer", seen)
    assert rows.run()["state"] == "succeeded"
    assert len(masked) == len(bare) > 10_000
    # 255 degrees of freedom: above 400 once in ten million times.
    assert _chi_square(masked) < 400
    assert _chi_square(bare) > 10_000


def _chi_square(values: bytearray) -> float:
    counts = np.bincount(np.frombuffer(bytes(values), np.uint8), minlength=256)
    expected = len(values) / 256
    return float(((counts - expected) ** 2 / expected).sum())


def test_a_job_that_contradicts_itself(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"threshold": 4}, {}, "4 parties are asked for and the job has 3"),
        ({"aggregation": "masked"}, {"name": "median"}, 'params.aggregation = "plain"'),
        ({"aggregation": "paillier", "min_clients": 1}, {}, "that party's update"),
        ({"min_clients": 1}, {}, "nothing is unmasked"),
        ({"aggregation": "plain"}, {"name": "krum"}, "takes at least 5 parties"),
        ({}, {"momentum": 0.5}, "belongs to fedavgm"),
        ({"loss": "msee"}, {}, "did you mean 'mse'?"),
        ({"loss": "cross_entropy"}, {}, "job.toml: model.layers: 1 output and the loss is cross_entropy"),
        ({"key_bits": 2048}, {}, "params.key_bits: belongs to aggregation 'paillier', this is 'masked'"),
        ({"insecure_for_tests": True}, {}, "params.insecure_for_tests: belongs to aggregation 'paillier'"),
    ]
    for params, strategy, words in cases:
        rows = synthetic(tmp_path, **params)
        rows.strategy = strategy
        with pytest.raises(ConfigError) as caught:
            rows.spec()
        assert words in str(caught.value)
    assert msgspec.structs.asdict(synthetic(tmp_path).spec())["name"] == "test"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"params": {"loss": "bce"}}, DataError, "labels are no class"),
        ({"layers": "[{ linear = 2 }]"}, ConfigError, r"job\.toml: model\.layers: 2 outputs and the loss is mse"),
        (
            {"data": {"as_is": ["aa"]}},
            ConfigError,
            r"job\.toml: data\.as_is: there is no column 'aa'; did you mean 'a'",
        ),
        ({"more": "[privacy]\nnoise_multiplier = 1.0\nepsilon = 1.0\ndelta = 0.5\n"}, JobRefused, "privacy.delta"),
    ],
)
def test_check_finds_what_a_job_would_fail_by(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    rows = synthetic(tmp_path)
    for key, value in change.items():
        setattr(rows, key, {**rows.params, **value} if key == "params" else value)
    with pytest.raises(error, match=words):
        check(rows.write_job(), rows.files[:1])


def test_check_holds_the_identity_against_the_roster(tmp_path: Path) -> None:
    rows = synthetic(tmp_path)
    rows.introduce()
    check(rows.write_job(), rows.files)
    (tmp_path / "roster.toml").write_text(f'[parties]\nbob = "{Identity.load(tmp_path / "bob.key").public}"\n')
    with pytest.raises(ConfigError, match="no key of alice and carol, which take part in the job"):
        check(rows.write_job(), rows.files[:1])
