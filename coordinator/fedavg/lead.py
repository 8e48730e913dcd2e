"""The coordinator's side of federated averaging. The protocol is in parties/fedavg/member.py.

It hands out the model, has the parties' updates summed in a way that hides each of them from it, and makes the next
model of their average. It leads: every step is an order, and a party that misses one is left out of that sum.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import structlog

from coordinator.fedavg import judgement, robust
from coordinator.fedavg.progress import Course
from coordinator.fedavg.strategy import ServerOptimizer
from coordinator.sums.base import Sum
from coordinator.sums.choice import sums_of
from coordinator.sums.cohort import Cohort
from fedbus import metrics
from fedbus.algorithms.fedavg import moments
from fedbus.algorithms.fedavg.budget import Budget
from fedbus.algorithms.fedavg.messages import Assignment, BestWeights, Described, GlobalWeights, Task
from fedbus.algorithms.fedavg.spec import ROBUST, AverageJob
from fedbus.algorithms.fedavg.tasks import CLIPPED, sum_layout
from fedbus.chunks import CHUNK_BYTES, chunk_ranges
from fedbus.crypto.engine import Engine
from fedbus.errors import JobFailed, ProtocolError
from fedbus.messages.control import Progress
from fedbus.session.session import Session
from fedbus.weights import Weights

log = structlog.get_logger()

# Of a model: what a coordinator takes in before it knows anything of it.
_MOST_BYTES = 1024**3


def coordinate(session: Session[AverageJob], engine: Engine, figures: dict[str, Any]) -> None:
    """Play the coordinator's part of a job.

    Args:
        figures: gets what the report says of training, however the job ends.

    Raises:
        JobRefused: the parties' tables do not fit each other.
        JobFailed: too few parties answer.
        ProtocolError: a party sent what the protocol does not allow.
    """
    lead = Lead(session, engine)
    try:
        while (task := lead.course.next_task(lead.spec)) is not Task.CONCLUDE:
            lead.carry_out(task)
        lead.conclude()
    finally:
        figures.update(lead.course.figures(lead.spec), left_out=lead.cohort.reasons)
        if lead.watches:
            figures["best_model"] = lead.course.best_model
        parameters = len(lead.weights or ())
        figures["warnings"] = judgement.warnings(lead.course, lead.spec, parameters, best=lead.watches)


class Lead:
    """The coordinator in a job under way."""

    def __init__(self, session: Session[AverageJob], engine: Engine) -> None:
        self.session = session
        self.spec = session.spec
        state = session.restore()
        if state is None:
            described = {party: session.recv(party, Described) for party in self.spec.parties}
            state = {"course": Course.begin(self.spec, described).to_map(), "sums": {}, "absent": [], "reasons": {}}
        self.course = Course.of(state["course"])
        self.cohort = Cohort(session, self.spec.sums, state["absent"], state["reasons"])
        keep = self.spec.strategy.name in ROBUST
        self.sums = sums_of(session, self.cohort, engine, state["sums"], self._sums_left, keep=keep)
        self.weights, self.best = self._restored("weights"), self._restored("best")
        self.server: ServerOptimizer | None = None
        if self.weights is not None:
            self.server = ServerOptimizer.create(self.spec.strategy, len(self.weights))
            names = self.server.arrays()
            self.server.restore({name: np.frombuffer(session.blob(name) or b"", np.float32) for name in names})
        privacy, params = self.spec.privacy, self.spec.params
        rows = list(self.course.rows.values())
        self.budget = Budget(privacy, params.batch_size, rows, params.local_epochs) if privacy else None
        self._since: float | None = None
        # Told once the next order is out: parties wait for that.
        self._news: Progress | None = None
        # Kept for the end only where somebody can tell which model is best.
        self.watches = self.course.has_tests or (params.patience is not None and privacy is None)

    def _sums_left(self) -> int:
        return self.course.sums_left(self.spec)

    def _restored(self, name: str) -> Weights | None:
        blob = self.session.blob(name)
        return None if blob is None else Weights.parse(blob)

    def checkpoint(self, blobs: dict[str, Any] | None = None) -> None:
        """Make the end of this session round durable, with the next order or soon: until then no model changes."""
        cohort = {"absent": self.cohort.absent, "reasons": self.cohort.reasons}
        state = {"course": self.course.to_map(), "sums": self.sums.state, **cohort}
        self.session.checkpoint(state, blobs, with_next=True)

    def carry_out(self, task: Task) -> None:
        """Do one task, to its checkpoint."""
        if task is Task.TRAIN and not self._affordable():
            return
        if task is Task.TRAIN and self._since is None:
            self._since = time.monotonic()
        self.session.at(self.session.round + 1)
        if task is Task.INITIALISE:
            self._initialise()
            return
        members, found = self._sum(task, self._members())
        blobs: dict[str, Any] = {}
        if task in (Task.MEAN, Task.VARIANCE):
            self.course.enter_moments(self.spec, task, moments.decode(found.total), found.survivors)
        else:
            blobs = self._enter_round(task, found)
        if task is Task.TRAIN:
            self._announce(members, found)
        self.checkpoint(blobs)

    def _affordable(self) -> bool:
        """Return whether the privacy budget allows one more round; otherwise training ends."""
        if self.budget is None or self.budget.allows(self.course.trained + 1):
            return True
        if not self.course.trained:
            raise JobFailed("the privacy budget does not allow one round; raise privacy.noise_multiplier or epsilon")
        self.course.ended = "one more round would pass the privacy budget (privacy.epsilon)"
        return False

    def _members(self) -> tuple[str, ...]:
        """Choose who is asked for the next sum, all of whom have keys for it; exchange these where that takes it."""
        while (decided := self.session.decided(Assignment)) is None:
            if self.sums.prepare():
                self.checkpoint()
                self.session.at(self.session.round + 1)
            elif members := self.cohort.choose(self.sums.eligible):
                return members
            else:
                self.cohort.wait_for(self.cohort.rules.min_clients)
        return decided.members

    def _initialise(self) -> None:
        """Have the first party that is there make the first weights; where it does not, the next one is asked."""
        decided = self.session.decided(Assignment)
        members = decided.members if decided else self.cohort.wait_for(1)[:1]
        self._assign(Task.INITIALISE, members)
        if not self.cohort.gather(GlobalWeights, members, 0):
            return
        blob = bytearray()
        for message in self.session.recv_stream(members[0], GlobalWeights):
            blob += message.data
            if len(blob) > _MOST_BYTES:
                raise ProtocolError(f"{members[0]} sent a model of more than {_MOST_BYTES:,} bytes")
        self.weights = Weights.parse(blob)
        self.server = ServerOptimizer.create(self.spec.strategy, len(self.weights))
        self.course.done.append(Task.INITIALISE)
        self.checkpoint({"weights": self.weights.blob, **self.server.arrays()})

    def _assign(self, task: Task, members: Sequence[str]) -> None:
        course, window, slot = self.course, -1, 0
        if task not in (Task.INITIALISE, Task.CONCLUDE):
            window, slot = self.sums.assign()
        model = self.weights if task in (Task.TRAIN, Task.EVALUATE, Task.CONCLUDE) else None
        short = model is not None and len(model.blob) <= CHUNK_BYTES
        order = Assignment(
            task=task.value,
            number=course.trained,
            window=window,
            slot=slot,
            members=tuple(members),
            rows=sum(course.rows.values()),
            test_rows=sum(course.test_rows.values()),
            exponents=tuple(course.exponents) if task in (Task.MEAN, Task.VARIANCE) else (),
            mean=course.mean,
            scale=course.scale,
            label_mean=course.label_mean,
            label_scale=course.label_scale,
            model=bytes(model.blob) if model is not None and short else b"",
            best=course.best_model if task is Task.CONCLUDE and self._best_is_another() else -1,
        )
        self.session.send(members, order)
        if model is not None and not short:
            send_weights(self.session, members, GlobalWeights, model)
        if self._news is not None:
            self.session.publish_event(self._news, key=self._news.round)
            self._news = None

    def _sum(self, task: Task, members: tuple[str, ...]) -> tuple[tuple[str, ...], Sum]:
        """Have a task's vectors made by these and summed. Return who was asked, and the sum."""
        session, params = self.session, self.spec.params
        course = self.course
        layout = sum_layout(self.spec, task.value, len(course.exponents), len(self.weights or ()), course.outputs)
        with session.phase(task.value):
            self._assign(task, members)
            found = self.sums.sum(layout, members)
        log.debug("summed", job=session.job, task=task.value, members=len(members), aggregation=params.aggregation)
        return members, found

    def _enter_round(self, task: Task, found: Sum) -> dict[str, Any]:
        """Measure the model that the round began with, and make the next one. Return the blobs that changed."""
        assert self.weights is not None  # noqa: S101  # they come before
        assert self.server is not None  # noqa: S101
        course, blobs = self.course, dict[str, Any]()
        measured = found.metrics()
        loss, test = course.measured(self.spec.params.loss, measured, found.survivors)
        if task is Task.TRAIN:
            course.clipped.append(measured[CLIPPED] / course.weight(found.survivors))
            judgement.check_clipped(course, self.spec)
            course.loss.append(float("nan") if self.spec.privacy else loss)
        watched = test if test is not None else loss
        # Of the last model only whether it is the best: training has ended already.
        patience = self.spec.params.patience if task is Task.TRAIN else None
        if self.watches and course.watch(watched, patience):
            self.best = self.weights.copy()
            blobs["best"] = self.best.blob
        if task is Task.EVALUATE:
            course.evaluated = True
            return blobs
        weight = course.weight(found.survivors)
        if found.vectors:
            shares = [course.weight((party,)) for party in found.survivors]
            self.weights.flat[:] += robust.combine(found.updates(shares), shares, self.spec.strategy)
        else:
            self.server.step(self.weights.flat, found.values(weight))
        course.trained += 1
        if self.budget is not None:
            course.epsilon.append(self.budget.epsilon_after(course.trained))
        return {**blobs, "weights": self.weights.blob, **self.server.arrays()}

    def _announce(self, members: tuple[str, ...], found: Sum) -> None:
        course, session = self.course, self.session
        # From one round to the next, so that nothing in between is left out, a checkpoint or an exchange of keys.
        now = time.monotonic()
        seconds, self._since = now - (self._since or now), now
        overhead = seconds - max(found.seconds.values())
        course.seconds.append(seconds)
        course.overhead.append(overhead)
        course.members.append(len(members))
        course.missing.append(len(members) - len(found.survivors))
        self._note_absence(members, found.survivors)
        if text := judgement.clipped_now(course, self.spec):
            self.cohort.tell("entries of updates are cut", text, round=course.trained, part=course.clipped[-1])
        metrics.round_latency.labels(self.spec.algorithm, session.role, "round").observe(seconds)
        metrics.round_latency.labels(self.spec.algorithm, session.role, "overhead").observe(overhead)
        test = course.test_loss[-1] if course.test_loss else None
        loss = course.loss[-1]
        shown = loss if loss == loss else test
        if shown is not None:
            metrics.loss.labels(session.job).set(shown)
        epoch = course.trained * self.spec.params.local_epochs
        self._news = Progress(course.trained, epoch, loss, seconds, test)

    def _note_absence(self, members: Sequence[str], survivors: Sequence[str]) -> None:
        """Enter who was in a round, and tell the log and whoever watches who is no longer, and who is again."""
        course = self.course
        # Of a fraction nobody misses those who were not drawn.
        expected = members if self.spec.params.client_fraction < 1 else self.spec.parties
        for party in survivors:
            course.took_part[party] += 1
            if party in course.without:
                course.without.remove(party)
                self.cohort.tell("a party takes part again", f"{party} takes part again", party=party)
        for party in expected:
            if party not in survivors and party not in course.without:
                course.without.append(party)
                reason = self.cohort.reasons.get(party, "it did not answer")
                text = f"round {course.trained} and later ones are without {party}: {reason}"
                self.cohort.tell("a round is without a party", text, party=party, reason=reason)

    def _best_is_another(self) -> bool:
        return self.best is not None and self.course.best_model != self.course.trained

    def conclude(self) -> None:
        """Hand out the last model, and the best one where it is another."""
        session = self.session
        session.at(session.round + 1)
        parties = tuple(party for party in self.spec.parties if party not in session.attendance.failures)
        self._assign(Task.CONCLUDE, parties)
        if self.best is not None and self._best_is_another():
            send_weights(session, parties, BestWeights, self.best)


def send_weights(
    session: Session[AverageJob], to: Sequence[str], kind: type[GlobalWeights] | type[BestWeights], weights: Weights
) -> None:
    """Send a model in pieces."""
    ranges = chunk_ranges(len(weights.blob), 1)
    session.send_stream(to, (kind(bytes(weights.blob[start:stop])) for start, stop in ranges), len(ranges))
