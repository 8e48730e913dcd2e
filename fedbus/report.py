"""What a job has come to: the report that a client, a notebook and `--json` get.

A report has what all jobs have in common. Each algorithm adds fields of its own in a class that inherits from `Report`;
`fedbus.algorithms.registry.read_report` chooses the class. As a map, which is what travels and what `--json` writes,
all fields lie side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import msgspec

from fedbus.cautions import seen_in_training
from fedbus.errors import ProtocolError

R = TypeVar("R", bound="Report")

# Names of measures, such as mse, r2, accuracy or auc, and their values. A measure that is not defined on these rows is
# None, and `undefined` says why, by the measure's name.
Scores = dict[str, float | dict[str, str] | None]

# Of a list with one value for each round, in a report that is too long for a message, at its beginning and at its end.
KEPT_VALUES = 500

_SUCCEEDED = "succeeded"


class RowCounts(msgspec.Struct, frozen=True):
    """How many rows a party has brought, before any were matched with those of others."""

    train: int
    test: int = 0


class Percentiles(msgspec.Struct, frozen=True):
    """Half of the rounds took no longer than p50, and 99 in a hundred no longer than p99, in seconds."""

    p50: float
    p99: float


class Written(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a party could write the predictions of its held-out rows: into which file, or why not."""

    written: bool
    file: str = ""
    reason: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job at its end. Of a job that failed or was cancelled that may be little.

    What depends on the data or on how the job was run is None where it does not apply.

    Attributes:
        state: "succeeded", "failed" or "cancelled".
        reason: why the job did not succeed.
        seconds: from the job's first start to its end.
        rows: of each party.
        columns: features of each party.
        rounds: training rounds that are done.
        ended: why training ended.
        loss: of each training round; None where a loss is not finite, or where privacy keeps it back.
        test_loss: on held-out rows, of each model from the first one on, which no round has changed yet.
        round_latency_seconds: how long rounds took.
        train, test: how good the model is on training rows and on held-out rows.
        pooled_train, pooled_test: how good the same model is that was trained on the pooled data; only a simulation,
            which has every party's file, can say that.
        warnings: sentences on a model that is worth less than the state suggests.
        missing_cells, test_missing_cells: cells that each party filled, in training rows and in held-out rows.
        missing_by_column: the same of each column; only a simulation knows the names.
        left_out_rows: rows that each party left out because a cell is missing.
        test_unknown_levels: cells of held-out rows with a level that the party's training rows lack.
        test_training_ids: held-out rows of each party whose ids are ids of training rows.
        predictions: of the parties that were to write predictions of held-out rows.
        metrics: addresses of the participants' /metrics pages.
        bytes_sent, peak_memory_bytes: of each participant.
        further: what a newer program says beside all this.
    """

    # Without these a report of a job that succeeded cannot be understood.
    NEEDED: ClassVar[tuple[str, ...]] = ("job", "seconds", "rows", "rounds", "round_latency_seconds", "bytes_sent")

    job: str
    state: str
    name: str = ""
    algorithm: str = ""
    reason: str = ""
    seconds: float = 0.0
    rows: dict[str, RowCounts] = msgspec.field(default_factory=dict)
    columns: dict[str, int] = msgspec.field(default_factory=dict)
    rounds: int = 0
    ended: str = ""
    loss: list[float | None] = msgspec.field(default_factory=list)
    test_loss: list[float | None] | None = None
    round_latency_seconds: Percentiles = Percentiles(0.0, 0.0)
    train: Scores | None = None
    test: Scores | None = None
    pooled_train: Scores | None = None
    pooled_test: Scores | None = None
    warnings: list[str] = msgspec.field(default_factory=list)
    missing_cells: dict[str, int] | None = None
    test_missing_cells: dict[str, int] | None = None
    missing_by_column: dict[str, dict[str, int]] | None = None
    left_out_rows: dict[str, int] | None = None
    test_unknown_levels: dict[str, int] | None = None
    test_training_ids: dict[str, int] | None = None
    predictions: dict[str, Written] | None = None
    metrics: dict[str, str] | None = None
    bytes_sent: dict[str, int] = msgspec.field(default_factory=dict)
    peak_memory_bytes: dict[str, int] = msgspec.field(default_factory=dict)
    further: dict[str, Any] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.job}: {self.state} after {self.rounds} rounds, {self.seconds:.1f} s>"

    @property
    def succeeded(self) -> bool:
        """Whether there is a model."""
        return self.state == _SUCCEEDED

    def to_map(self) -> dict[str, Any]:
        """The report as it travels and as `--json` writes it.

        What does not apply is left out, and of a job that did not succeed also what never came about.
        """
        values: dict[str, Any] = msgspec.to_builtins(self)
        further = values.pop("further")
        known = {
            field.name: values[field.name]
            for field in msgspec.structs.fields(self)
            if field.name in values and self._applies(field)
        }
        return {**known, **further}

    def _applies(self, field: msgspec.structs.FieldInfo) -> bool:
        value = getattr(self, field.name)
        if value is None or value == "":
            return False
        if field.required or self.succeeded:
            return True
        made = field.default_factory
        return bool(value != (field.default if made is msgspec.NODEFAULT else made()))

    def joined(self: R, fields: Mapping[str, Any]) -> R:
        """This report with further fields, or with other values of some.

        Raises:
            ProtocolError: a value is not of its field's type.
        """
        return _converted(type(self), {**self.to_map(), **fields})

    def without(self: R, *names: str) -> R:
        """This report without some fields, which may be absent in any report."""
        return msgspec.structs.replace(self, **dict.fromkeys(names))

    def cautioned(self: R) -> R:
        """This report with what its figures warn of in `warnings`, after what is there already, each sentence once."""
        return msgspec.structs.replace(self, warnings=list(dict.fromkeys([*self.warnings, *self.cautions()])))

    def cautions(self) -> list[str]:
        """What the figures warn of. Whoever knows more of a job enters its own sentences in `warnings`."""
        not_kept = [
            f"{party} has the model, but could not write the predictions of its held-out rows: {told.reason}."
            for party, told in (self.predictions or {}).items()
            if not told.written
        ]
        seen = [
            seen_in_training(party, count, self.held_out(party))
            for party, count in (self.test_training_ids or {}).items()
        ]
        return not_kept + seen

    def held_out(self, party: str) -> int:
        """Return on how many held-out rows of a party the model is measured."""
        return self.rows[party].test if party in self.rows else 0

    def curve(self) -> dict[str, list[float]]:
        """The course of training as columns of one length, to plot: `round`, `loss`, `test_loss` and those of the
        algorithm. What a round has no value of is nan; round 0 is before training.
        """
        courses = {name: dict(self._numbered(*course)) for name, course in self.courses().items()}
        rounds = sorted(set().union(*courses.values()))
        columns = {
            name: [math.nan if (value := course.get(number)) is None else value for number in rounds]
            for name, course in courses.items()
        }
        return {"round": [float(number) for number in rounds], **columns}

    def courses(self) -> dict[str, tuple[Sequence[float | None], int]]:
        """Lists with a value for each round, and the round that the first value belongs to."""
        return {"loss": (self.loss, 1), "test_loss": (self.test_loss or (), 0)}

    def _numbered(self, values: Sequence[float | None], first: int) -> list[tuple[int, float | None]]:
        last = first + len(values) - 1
        cut = self.rounds - last if len(values) == 2 * KEPT_VALUES else 0
        return [(first + at + (max(cut, 0) if at >= KEPT_VALUES else 0), value) for at, value in enumerate(values)]

    def to_frame(self) -> Any:
        """The course of training as a pandas data frame: a row for each round, with the columns of `curve`.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("a report becomes a table by pandas: pip install 'fedbus[notebook]'") from error
        frame = pandas.DataFrame(self.curve())
        return frame.astype({"round": int})


def read(kind: type[R], fields: Mapping[str, Any]) -> R:
    """A report of a class from a map that another process has sent.

    Fields that this program does not know are kept in `further`: a newer coordinator may say more, and `--json` is to
    lose nothing.

    Raises:
        ProtocolError: a value is not of its field's type, or a job succeeded and its report lacks what it has to have.
    """
    if fields.get("state") == _SUCCEEDED:
        for name in kind.NEEDED:
            if name not in fields:
                raise _unreadable(f"{name} is missing", fields)
    return _converted(kind, fields)


def _converted(kind: type[R], fields: Mapping[str, Any]) -> R:
    names = {field.name for field in msgspec.structs.fields(kind)} - {"further"}
    known = {name: value for name, value in fields.items() if name in names}
    further = {name: value for name, value in fields.items() if name not in names}
    try:
        return msgspec.convert({**known, "further": further}, kind)
    except msgspec.ValidationError as error:
        raise _unreadable(str(error)[:200], fields) from error


def _unreadable(why: str, fields: Mapping[str, Any]) -> ProtocolError:
    return ProtocolError(
        f"the coordinator's report cannot be shown ({why}); its program may be of another version than this one."
        f" `fedbus show {str(fields.get('job', 'JOB'))[:100]} --json -` has the report as it came"
    )
