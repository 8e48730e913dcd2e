"""A job may wait for this party's operator, who answers by files in a folder beside the store.

The process holds its store alone, and opens no port for its operator either. So it writes a question into the folder
`bank.db.approvals`, which only its own user may enter, and looks there for the answer. Both are files that are written
whole. An answer stays until the job has ended, so a process that is started again does not ask twice.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from fedbus import files
from fedbus.audit import now
from fedbus.errors import ConfigError, JobRefused, NotFound, PeerSilent, StoreError
from fedbus.names import JOB_ID, nearest
from fedbus.session.session import Session
from fedbus.settings import PartySettings

log = structlog.get_logger()

_FOLDER = ".approvals"
_QUESTION, _ANSWER = ".question.json", ".answer.json"
_PRIVATE = 0o600
# How soon an answer is found: a file has nobody to tell that it is there.
_LOOK_SECONDS = 0.5
# So often it is said again, for those who begin to watch.
_TELL_EVERY = 120
_MAX_WHY = 1000


class OperatorAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator says of a job.

    Attributes:
        approved: whether the party may take part.
        by: the user of the system who said so, for the audit log.
        why: the reason, which all who take part are told.
    """

    approved: bool
    by: str
    at: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Approvals:
    """The questions and answers of one party.

    Attributes:
        folder: that holds them.
    """

    folder: Path

    @classmethod
    def of(cls, settings: PartySettings) -> Approvals:
        """Those of a party file."""
        state = settings.path(settings.state)
        return cls(state.with_name(state.name + _FOLDER))

    def wait(self, session: Session[Any], facts: dict[str, Any]) -> OperatorAnswer:
        """Have a job wait until the operator has answered; an answer that is there already is the one.

        The session is open meanwhile, so that the others hear signs of life. It ends the wait where the coordinator
        ends the job, which waits no longer than the job's `limits.join`, and where the coordinator is gone.

        Args:
            facts: about the job, for the operator.

        Raises:
            StoreError: the folder cannot be used.
            PeerSilent: the coordinator gave no sign of life for longer than the job allows.
            FedbusError: the job ended meanwhile.
        """
        job = session.job
        self._make()
        if (answer := self._answer(job)) is None:
            self._write(job, _QUESTION, {"job": job, "since": now(), **facts})
            log.warning("the job waits for this party's operator: fedbus party approve, or reject", job=job)
        looked, began, silence = 0, time.monotonic(), session.spec.limits.silence
        while answer is None:
            if session.attendance.silence(session.coordinator, began) >= silence:
                raise PeerSilent(
                    f"{session.coordinator} gave no sign of life for {silence:g} s (limits.silence) while the job"
                    " waited for this party's operator"
                )
            if looked % _TELL_EVERY == 0:
                session.tell(
                    "its policy has its operator approve each job (`ask`), and the job waits for that, no longer than"
                    f" its limits.join ({session.spec.limits.join:g} s) from its start"
                )
            looked += 1
            session.attendance.wait_until(lambda: False, _LOOK_SECONDS)
            answer = self._answer(job)
        return answer

    def pending(self) -> list[dict[str, Any]]:
        """What waits for an answer, oldest first."""
        try:
            jobs = [path.name.removesuffix(_QUESTION) for path in self.folder.glob(f"*{_QUESTION}")]
            found = [json.loads(self._path(job, _QUESTION).read_text("utf-8")) for job in jobs if self._open(job)]
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.folder}: the questions cannot be read: {error}") from None
        return sorted(found, key=lambda question: str(question.get("since")))

    def answer(self, job: str, *, approved: bool, why: str = "") -> None:
        """OperatorAnswer for a job that waits.

        Raises:
            NotFound: it does not wait here.
            ConfigError: the reason is too long, or the answer cannot be written.
        """
        if len(why) > _MAX_WHY:
            raise ConfigError(f"--why: has {len(why)} characters; {_MAX_WHY} are the most")
        if not JOB_ID.fullmatch(job) or not self._open(job):
            waiting = [str(question.get("job")) for question in self.pending()]
            hint = nearest(job, waiting) if waiting else "no job does"
            raise NotFound(f"{self.folder}: job {job} does not wait for an answer; {hint}")
        self._write(job, _ANSWER, msgspec.to_builtins(OperatorAnswer(approved, getpass.getuser(), now(), why)))

    def forget(self, job: str) -> None:
        """Remove question and answer of a job that has ended."""
        for suffix in (_QUESTION, _ANSWER):
            self._path(job, suffix).unlink(missing_ok=True)

    def keep_only(self, jobs: Collection[str]) -> None:
        """Remove what is left of other jobs than these."""
        for suffix in (_QUESTION, _ANSWER):
            for path in self.folder.glob(f"*{suffix}"):
                if path.name.removesuffix(suffix) not in jobs:
                    path.unlink(missing_ok=True)

    def _open(self, job: str) -> bool:
        return files.exists(self._path(job, _QUESTION)) and not files.exists(self._path(job, _ANSWER))

    def _make(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Whoever could write here could approve.
            self.folder.chmod(0o700)
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot be made: {files.reason(error, self.folder)}") from None

    def _answer(self, job: str) -> OperatorAnswer | None:
        path = self._path(job, _ANSWER)
        try:
            return msgspec.json.decode(path.read_bytes(), type=OperatorAnswer)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreError(f"{path}: the answer cannot be read ({error}); remove it, and answer again") from None

    def _write(self, job: str, suffix: str, fields: Any) -> None:
        path = self._path(job, suffix)
        try:
            files.write_whole(path, json.dumps(fields, ensure_ascii=False, indent=1) + "\n", mode=_PRIVATE)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {files.reason(error, path)}") from None

    def _path(self, job: str, suffix: str) -> Path:
        return self.folder / f"{job}{suffix}"


def check_answer(answer: OperatorAnswer) -> None:
    """JobRefused where the operator does not approve; says why."""
    if not answer.approved:
        why = f": {answer.why}" if answer.why else "; ask why"
        raise JobRefused(f"this party's operator does not approve the job (`ask` of its policy){why}")
