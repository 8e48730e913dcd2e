"""What clients are told of the ledger: which jobs there are, how far each is, and all that is known of one."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import structlog

from fedbus import codec
from fedbus.algorithms import registry
from fedbus.errors import ConfigError, StoreError
from fedbus.job import JobState
from fedbus.messages.control import Outcome, Progress
from fedbus.messages.fields import shortened
from fedbus.messages.ledger import MAX_LINES, JobLine, JobList, JobShown, ListJobs, StateLine
from fedbus.report import KEPT_VALUES
from fedbus.store.base import Store
from fedbus.store.records import JobRecord

log = structlog.get_logger()

_MAX_REASON = 1000
# Of what a message may have; the rest is for the job's file, its states and its line.
_LIST_BYTES = _REPORT_BYTES = codec.MAX_BODY_BYTES * 3 // 4
# For the state, its reason and the envelope.
_ROOM_BYTES = 64 * 1024
_MAX_STATES = 100


class Ledger:
    """Answers clients from the store.

    Args:
        sees_all: whether a user is told of everybody's jobs.
        latest: gives what was last told of a job's rounds in this process, None where nothing was.
    """

    def __init__(self, store: Store, sees_all: Callable[[str], bool], latest: Callable[[str], Progress | None]) -> None:
        self._store = store
        self._sees_all = sees_all
        self._latest = latest

    def list(self, user: str, wanted: ListJobs) -> JobList:
        """The newest jobs that a user may see, as many as fit one message."""
        limit, size = min(max(wanted.limit, 1), MAX_LINES), 0
        owner = None if self._sees_all(user) else user
        lines: list[JobLine] = []
        for record in self._store.newest(owner=owner, unfinished=wanted.unfinished, before=wanted.before):
            line = self._line(record)
            size += len(codec.pack(dataclasses.asdict(line)))
            if len(lines) == limit or (lines and size > _LIST_BYTES):
                return JobList(lines, True)
            lines.append(line)
        return JobList(lines, False)

    def show(self, user: str, job: str) -> JobShown:
        """A job, to who submitted it and to operators."""
        try:
            return self._shown(user, job)
        except StoreError as error:
            log.error("a job cannot be shown", job=job, error=str(error))  # noqa: TRY400
            return JobShown(refusal=f"the coordinator cannot read its ledger of job {job}; its log says more")

    def _shown(self, user: str, job: str) -> JobShown:
        record = self._store.job(job)
        if record is None:
            refusal = f"this coordinator has no job {job}; `fedbus jobs` lists those that it has"
            return JobShown(refusal=refusal, known=False)
        if user != record.owner and not self._sees_all(user):
            return JobShown(
                refusal=f"{user} may not see job {job}: only {record.owner} and the coordinator's `operators` may"
            )
        states = [
            StateLine(each.state.value, shortened(each.reason, _MAX_REASON), each.at)
            for each in self._store.history(job)[-_MAX_STATES:]
        ]
        report = told_report(record, _REPORT_BYTES)
        return JobShown(line=self._line(record), spec=codec.unpack(record.spec), states=states, report=report)

    def has_ended(self, job: str, party: str) -> bool:
        """Whether a job that this party took part in is over."""
        outcome = self.outcome(job, party)
        return outcome is not None and self._store.job(job) is not None

    def outcome(self, job: str, party: str) -> Outcome | None:
        """What a party that asks is told of a job: how it ended, or that there is none; nothing of one that goes on."""
        record = self._store.job(job)
        if record is None:
            reason = f"its coordinator has no job {job}: the coordinator's store was lost or replaced"
            return Outcome(JobState.FAILED.value, reason)
        with contextlib.suppress(ConfigError):
            if record.state.final and party in registry.parse(codec.unpack(record.spec)).parties:
                return Outcome(record.state.value, shortened(record.reason))
        return None

    def _line(self, record: JobRecord) -> JobLine:
        fields = codec.unpack(record.spec)
        try:
            spec = registry.parse(fields)
            name, algorithm, parties = spec.name, spec.algorithm, spec.parties
            most, unit = spec.length
        except ConfigError:
            # It was refused for this, or another version of the program took it.
            name, algorithm, parties, most, unit = "", str(fields.get("algorithm", ""))[:64], (), None, "round"
        return JobLine(
            job=record.job,
            name=name,
            algorithm=algorithm,
            parties=parties,
            owner=record.owner,
            state=record.state.value,
            reason=shortened(record.reason, _MAX_REASON),
            submitted=record.created_at,
            since=record.updated_at,
            done=self._done(record, unit),
            most=most,
            unit=unit,
        )

    def _done(self, record: JobRecord, unit: str) -> int | None:
        if record.state.final:
            done = (_report(record) or {}).get(f"{unit}s")
            return done if isinstance(done, int) else None
        latest = self._latest(record.job)
        if latest is None:
            return None
        return latest.epoch if unit == "epoch" else latest.round


def told_report(record: JobRecord, most: int = codec.MAX_BODY_BYTES - _ROOM_BYTES) -> dict[str, Any] | None:
    """A job's report as it is told to clients, in at most so many bytes; where it has more, long lists are cut."""
    report = _report(record)
    if report is None or record.report is None or len(record.report) <= most:
        return report
    lists = [key for key, value in report.items() if isinstance(value, list) and len(value) > 2 * KEPT_VALUES]
    cut = {key: report[key][:KEPT_VALUES] + report[key][-KEPT_VALUES:] for key in lists}
    warning = (
        f"of {', '.join(sorted(lists)) or 'its lists'} only the first and the last {KEPT_VALUES} values are shown; "
        f"`fedbus watch {record.job} --json FILE` has those that fit one message"
    )
    shorter = {**report, **cut, "warnings": [*report.get("warnings", ()), warning]}
    return shorter if len(codec.pack(shorter)) <= most else None


def _report(record: JobRecord) -> dict[str, Any] | None:
    return codec.unpack(record.report) if record.report else None
