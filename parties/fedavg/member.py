"""A party's side of federated averaging of a network. Rows stay where they are; models travel, and sums of updates.

The coordinator gives orders, each in a session round of its own; a party answers the one it can, and one that was away
goes on with the next. With w the global model and n_u the rows of party u of n in all:

    1. party -> coordinator   rows, columns, and exponents of columns and label
    2. (masked, paillier)     keys, see parties/sums/channels.py
    3. coordinator -> all     sum the means of columns and label, then their variances: each party's times n_u / n
    4. coordinator -> one     make the first model; party -> coordinator: it, as safetensors
    5. coordinator -> all     w; party: trains it on its rows to w_u
       party -> coordinator   (w_u - w) n_u / n and the losses, behind masks or encrypted
       coordinator, parties   uncover the sum, see parties/sums/masked.py and parties/sums/homomorphic.py
    6. coordinator -> all     the last model, and the best one

Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017,
algorithm 1. What each role learns: docs/explanation/average.md.
"""

from __future__ import annotations

import time
from typing import Any

import structlog

from fedbus.algorithms.fedavg.messages import Assignment, BestWeights, GlobalWeights, Task
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.algorithms.fedavg.tasks import SUMMED
from fedbus.algorithms.sums.layout import SumLayout
from fedbus.algorithms.sums.messages import ORDERS, Abstained
from fedbus.chunks import chunk_ranges
from fedbus.crypto.engine import Engine
from fedbus.errors import ProtocolError, TrainingDiverged
from fedbus.messages.envelope import Message
from fedbus.messages.fields import shortened
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from fedbus.weights import Weights
from parties.data.tables import Tables
from parties.fedavg import consent, network
from parties.fedavg.local import Local
from parties.fedavg.scoring import with_own
from parties.policy import Policy
from parties.side import Result
from parties.sums.choice import hiding_of

log = structlog.get_logger()

# Of a model as safetensors, beside its weights; names and shapes.
_HEADER_BYTES = 1024**2

_ORDERS: tuple[type[Message], ...] = (Assignment, *ORDERS)


def take_part(
    session: Session[AverageJob], engine: Engine, tables: Tables, policy: Policy, settings: PartySettings
) -> Result:
    """Play a party's part; see the module.

    Raises:
        JobRefused: the party's policy does not allow it, or asks for more rows; or the network cannot be made.
        ConfigError: no identity or no roster where the aggregation needs them.
        DataError: a label that does not fit the loss.
        ProtocolError: the coordinator or a party sent what the protocol does not allow.
    """
    spec = session.spec
    consent.check_job(policy, spec)
    consent.check_rows(policy, len(tables.train))
    member = Follower(session, engine, tables, settings)
    if not session.resumed:
        session.send(session.coordinator, member.local.describe())
    session.attendance.greet(session.coordinator)
    while True:
        round_, kind = session.attendance.next_order(session.coordinator, _ORDERS)
        session.at(round_)
        result = member.follow(kind)
        if result is not None:
            return with_own(result, spec, tables)


class Follower:
    """A party in a job under way, which follows the coordinator's orders."""

    def __init__(self, session: Session[AverageJob], engine: Engine, tables: Tables, settings: PartySettings) -> None:
        self.session = session
        self.spec = session.spec
        state = session.restore() or {}
        self.local = Local(self.spec, tables, session.party, settings.processes, state.get("trained", 0))
        self.local.clipped = state.get("clipped", 0)
        self._hiding = hiding_of(self.spec.sums, session, self, engine, settings, state)

    def checkpoint(self, round_: int | None = None) -> None:
        """See `Contributor`."""
        self.session.checkpoint(self.state, round_=round_, with_next=True)

    @property
    def state(self) -> dict[str, Any]:
        """See `Contributor`."""
        return {**self._hiding.state, "trained": self.local.trained, "clipped": self.local.clipped}

    def sum_layout(self, task: str) -> SumLayout:
        """See `Contributor`."""
        if task not in SUMMED:
            raise ProtocolError(f"{self.session.coordinator} names task '{task}', of which this job has no sum")
        return self.local.sum_layout(task)

    def follow(self, kind: type[Message]) -> Result | None:
        """Carry out the order of this session round. Return the result where it was the last."""
        session, lead = self.session, self.session.coordinator
        if kind is not Assignment:
            self._hiding.follow(kind)
            return None
        order = session.recv(lead, Assignment)
        if order.task == Task.CONCLUDE:
            return self._conclude(order)
        # Whoever is late with one sum is in time for the next.
        if session.attendance.is_overtaken(lead, _ORDERS):
            self._pass_over(order)
        elif order.task == Task.INITIALISE:
            self._initialise()
        else:
            self._contribute(order)
        return None

    def _pass_over(self, order: Assignment) -> None:
        """Leave out an order that another one followed; it may have been answered before a restart."""
        self._hiding.pass_over(order)
        if order.task == Task.TRAIN:
            self.local.trained += 1

    def _initialise(self) -> None:
        """Make the first model."""
        blob = network.weights(self.local.module).blob
        ranges = chunk_ranges(len(blob), 1)
        pieces = (GlobalWeights(bytes(blob[start:stop])) for start, stop in ranges)
        self.session.send_stream(self.session.coordinator, pieces, len(ranges))

    def _contribute(self, order: Assignment) -> None:
        """Answer with this party's vector, or say why there is none."""
        session, lead = self.session, self.session.coordinator
        if not self._hiding.has_keys(order):
            log.warning("this party missed the exchange of keys and abstains", job=session.job, **_named(order))
            session.send(lead, Abstained("has no part in the keys of this sum", keyless=True))
            return
        model = self._model(order) if order.task in (Task.TRAIN, Task.EVALUATE) else None
        began = time.monotonic()
        try:
            with session.phase(order.task):
                layout, vector = self.local.vector(order, model, session.random("privacy").read)
        except TrainingDiverged as error:
            log.warning("this party abstains", job=session.job, **_named(order), reason=str(error))
            session.send(lead, Abstained(shortened(error.told)))
            return
        seconds = time.monotonic() - began
        with session.phase("hide"):
            self._hiding.send(order, layout, vector, seconds)

    def _conclude(self, order: Assignment) -> Result:
        """Keep the last model, and the best one where that is another."""
        session, lead = self.session, self.session.coordinator
        model: dict[str, Any] = {
            "columns": list(self.local.train.columns),
            "mean": order.mean,
            "scale": order.scale,
            "label": {"name": self.spec.label, "mean": order.label_mean, "scale": order.label_scale},
            "rounds": order.number,
            "last": bytes(self._model(order).blob),
        }
        if order.best >= 0:
            model |= {"best": bytes(self._received(BestWeights).blob), "best_rounds": order.best}
        log.info("model kept", job=session.job, rounds=order.number, coordinator=lead)
        return Result(model, {"clipped": self.local.clipped})

    def _model(self, order: Assignment) -> Weights:
        """Return the model that an order is on; raise ProtocolError where it is not of this network's shape."""
        if not order.model:
            return self._received(GlobalWeights)
        model = Weights.parse(bytearray(order.model), self.local.layout)
        self.local.check(model, self.session.coordinator)
        return model

    def _received(self, kind: type[GlobalWeights] | type[BestWeights]) -> Weights:
        """Return a model that the coordinator sent in this round; raise ProtocolError where it does not fit."""
        blob = bytearray()
        for message in self.session.recv_stream(self.session.coordinator, kind):
            blob += message.data
            if len(blob) > self.local.layout.size + _HEADER_BYTES:
                raise ProtocolError(f"{self.session.coordinator} sent a model larger than this network")
        model = Weights.parse(blob, self.local.layout)
        self.local.check(model, self.session.coordinator)
        return model


def _named(order: Assignment) -> dict[str, Any]:
    """Say for the log what an order is for; rounds of training are counted from 1, as everywhere where people read."""
    return {"task": order.task, **({"round": order.number + 1} if order.task == Task.TRAIN else {})}
