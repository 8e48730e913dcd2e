"""Every field of every kind of message, held on arrival to the type and range that whoever reads it relies on."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgpack
import msgspec
import numpy as np
import pytest
import structlog
from payloads import HOSTILE, sound, types

from fedbus import codec
from fedbus.algorithms import registry
from fedbus.algorithms.fedavg.messages import Task
from fedbus.algorithms.registry import KINDS
from fedbus.errors import DecodeError, ProtocolError
from fedbus.messages.envelope import Envelope
from fedbus.messages.fields import MAX_TEXT, nulled, shortened
from fedbus.service import process

# What a field of a type takes of HOSTILE; everything else is refused.
ACCEPTED: dict[str, set[str]] = {
    "CipherTensor": {"tensor"},
    "Word": {"text", "empty"},
    "Text": {"text", "empty"},
    "Address": {"text", "empty"},
    "TaskName": set(),
    "Count": set(),
    "Round": {"minus"},
    "Batch": set(),
    "Exponent": {"minus"},
    "Bits": set(),
    "GramStep": set(),
    "Columns": set(),
    "Width": set(),
    "Finite": {"minus", "huge"},
    "Seconds": {"huge"},
    "float": {"nan", "inf", "-inf", "minus", "huge"},
    "float | None": {"nan", "inf", "-inf", "minus", "huge", "none"},
    "bool": {"true"},
    "bytes": {"bytes"},
    "Signature": set(),
    "Name": set(),
    "Names": {"empty list"},
    "Parts": {"empty list"},
    "Chunks": {"empty list"},
    "Exponents": {"empty list"},
    "ColumnNames": {"empty list"},
    "DateUnits": {"empty list"},
    "Words": {"empty list"},
    "ColumnsByParty": {"map", "empty map"},
    "dict[str, Count]": set(),
    "np.ndarray": set(),
    "dict[str, Any]": set(),
    "dict[str, Any] | None": {"map", "empty map", "nested", "nan in a map", "none"},
    "tuple[Finite, Address] | None": {"none", "list"},
    "JobLines": {"empty list"},
    "JobLine | None": {"none"},
    "StateLines | None": {"empty list", "none"},
}


def accepted_by(kind: str, field: str) -> set[str]:
    """What of HOSTILE a field takes; a type that only one algorithm has takes what its annotation says."""
    of = types(kind)[field]
    if of in ACCEPTED:
        return ACCEPTED[of]
    hint = get_type_hints(KINDS[kind], include_extras=True)[field]
    return {name for name, value in HOSTILE.items() if _fits(value, hint)}


def _fits(value: Any, hint: Any) -> bool:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


CASES = [(kind, field) for kind in sorted(KINDS) for field in types(kind)]


def body(kind: str, fields: dict[str, Any]) -> bytes:
    """A message as a hostile participant packs it, whatever its fields are."""
    sample = Envelope("j-1", "bank", "shop", KINDS[kind].__new__(KINDS[kind]), sent_at=1.0)
    return codec.pack({**codec.header(sample), "payload": fields})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_sound_message_of_each_kind_is_taken(kind: str) -> None:
    decoded = codec.decode(body(kind, sound(kind)))
    assert (decoded.kind, decoded.sender) == (kind, "bank")


@pytest.mark.parametrize(("kind", "field"), CASES, ids=[f"{kind}.{field}" for kind, field in CASES])
def test_a_field_takes_what_it_is_for_and_the_error_names_sender_kind_and_field(kind: str, field: str) -> None:
    accepted = accepted_by(kind, field)
    if field == "spec" and kind != "job_shown":
        # It is held to the types of its own keys when the job is read.
        accepted = {"map", "empty map", "nested", "nan in a map"}
    for name, value in HOSTILE.items():
        message = body(kind, {**sound(kind), field: value})
        if name in accepted:
            codec.decode(message)
            continue
        try:
            decoded = codec.decode(message)
        except DecodeError as error:
            reason = str(error)
            if "over the limit" not in reason:
                assert reason.startswith(f"malformed {kind} message of bank: "), reason
                assert field in reason, reason
            assert len(reason) < 400
        else:
            pytest.fail(f"{kind}.{field} took {name}: {decoded.payload}")


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({}, "figures.bytes_sent: missing"),
        ({"bytes_sent": 1}, "figures.peak_memory_bytes: missing"),
        ({"bytes_sent": -1, "peak_memory_bytes": 1}, "figures.bytes_sent: -1 is below 0"),
        ({"bytes_sent": 1.5, "peak_memory_bytes": 1}, "figures.bytes_sent: expected a number, got float"),
        ({"train": "\x1b[2Jbest"}, "figures.train: expected a map, got str"),
        ({"train": [1.0]}, "figures.train: expected a map, got list"),
        ({"train": {"mse": "0"}}, "figures.train.mse: expected a number, got str"),
        ({"train": {"mse": float("nan")}}, "figures.train.mse: nan is not finite"),
        ({"test": {"r2": True}}, "figures.test.r2: expected a number, got bool"),
        ({"clipped": {"a": 1}}, "figures.clipped: expected a number, got dict"),
        ({"note": np.zeros(2)}, "figures.note: ndarray is no value of a report"),
    ],
)
def test_what_a_party_adds_to_the_report_can_be_computed_with_and_shown(figures: dict[str, Any], reason: str) -> None:
    counts = {"bytes_sent": 1, "peak_memory_bytes": 1}
    whole = figures if set(figures) <= set(counts) else {**counts, **figures}
    with pytest.raises(DecodeError) as caught:
        codec.decode(body("finished", {"figures": whole}))
    assert str(caught.value) == f"malformed finished message of bank: {reason}"


@pytest.mark.parametrize("rows", [{}, {"train": 3}, {"train": -1, "test": 0}, {"train": 1.5, "test": 0}])
def test_rows_without_what_a_report_says_of_them_are_refused(rows: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="malformed accepted message of bank: rows"):
        codec.decode(body("accepted", {**sound("accepted"), "rows": rows}))


@pytest.mark.parametrize("part", [0, 3], ids=["fingerprint", "blob"])
@pytest.mark.parametrize("value", ["k" * 16, ["k"] * 16, None, 16, {"a": 1}])
def test_a_tensor_is_made_of_bytes(part: int, value: Any) -> None:
    fields: list[Any] = [b"k" * 16, 40, 4, b"abcdefgh"]
    fields[part] = value
    tensor = msgpack.ExtType(2, msgpack.packb(fields))
    message = msgpack.unpackb(body("forward", sound("forward")), ext_hook=msgpack.ExtType)
    with pytest.raises(DecodeError, match="malformed"):
        codec.decode(msgpack.packb({**message, "payload": {"tensor": tensor}}))


def test_tasks_have_one_list() -> None:
    for task in Task:
        codec.decode(body("assignment", {**sound("assignment"), "task": task.value}))


def test_what_is_sent_can_be_received() -> None:
    assert nulled({"auc": float("nan"), "loss": [1.0, float("inf")]}) == {"auc": None, "loss": [1.0, None]}
    reason = shortened("x" * 3 * MAX_TEXT)
    assert reason.endswith(" …")
    codec.decode(body("failed", {"reason": reason}))


def test_a_reason_forges_no_line_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    process.configure_logging()
    structlog.get_logger().warning("a party abstains", reason="why\n2026-01-01 job ended\x1b[2J", party="bank")
    line = capfd.readouterr().err
    structlog.reset_defaults()
    assert line.count("\n") == 1
    assert "\x1b" not in line.rstrip()
    assert "2026-01-01 job ended" in line


@pytest.mark.parametrize("algorithm", ["vertical-linear", "fedavg", "other", 5])
@pytest.mark.parametrize("rest", [{}, {"rows": "many", "rounds": {}}, {"rows": {"bank": {}}, "loss": ["a"]}])
def test_a_report_that_cannot_be_shown_is_a_sentence(algorithm: Any, rest: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="the coordinator's report cannot be shown"):
        registry.read_report({"job": "j", "state": "succeeded", "algorithm": algorithm, **rest})
