"""Federated averaging of a network: the parties' side. Rows stay where they are; models travel, and sums of updates.

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
from collections.abc import Iterator
from typing import Any

import numpy as np
import structlog

from fedbus.algorithms.fedavg.messages import (
    Abstained,
    Advertise,
    Assignment,
    BestWeights,
    EncryptedSum,
    GlobalWeights,
    PeerKeys,
    PeerShares,
    PlainUpdate,
    RevealRequest,
    Task,
)
from fedbus.algorithms.fedavg.sums import Plan
from fedbus.algorithms.fedavg.weights import Weights
from fedbus.chunks import chunk_ranges
from fedbus.crypto.engine import Engine
from fedbus.errors import PeerSilent, ProtocolError, TrainingDiverged
from fedbus.messages.envelope import Message
from fedbus.messages.fields import shortened
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from parties.data.tables import Tables
from parties.fedavg import network
from parties.fedavg.local import Local
from parties.fedavg.scoring import with_own
from parties.policy import Policy
from parties.side import Result
from parties.sums.homomorphic import Encryption
from parties.sums.masked import Masking
from parties.sums.trust import Trust

log = structlog.get_logger()

# Of a model as safetensors, beside its weights; names and shapes.
_HEADER_BYTES = 1024**2

_ORDERS: tuple[type[Message], ...] = (Advertise, PeerKeys, PeerShares, Assignment, RevealRequest, EncryptedSum)


def take_part(session: Session, engine: Engine, tables: Tables, policy: Policy, settings: PartySettings) -> Result:
    """A party's part; see the module.

    Raises:
        JobRefused: the party's policy does not allow it, or asks for more rows; or the network cannot be made.
        ConfigError: no identity or no roster where the aggregation needs them.
        DataError: a label that does not fit the loss.
        ProtocolError: the coordinator or a party sent what the protocol does not allow.
    """
    spec = session.average
    policy.check_average(spec)
    policy.check_rows(len(tables.train))
    member = Member(session, engine, tables, settings)
    if not session.resumed:
        session.send(session.coordinator, member.local.describe())
    session.attendance.greet(session.coordinator)
    while True:
        round_, kind = session.attendance.next_order(session.coordinator, _ORDERS)
        session.at(round_)
        result = member.follow(kind)
        if result is not None:
            return with_own(result, spec, tables)


class Member:
    """A party in a job under way."""

    def __init__(self, session: Session, engine: Engine, tables: Tables, settings: PartySettings) -> None:
        self.session = session
        self.spec = session.average
        state = session.restore() or {}
        self.local = Local(self.spec, tables, session.party, settings.processes, state.get("trained", 0))
        self.local.clipped = state.get("clipped", 0)
        # The session round in which the keys' last message comes, while it has not.
        self._keys_due: int | None = None
        self.hiding: Masking | Encryption | None = None
        if self.spec.params.aggregation != "plain":
            trust = Trust.of(settings, self.spec.parties)
            if self.spec.params.aggregation == "masked":
                self.hiding = Masking(session, trust, state)
            else:
                self.hiding = Encryption(session, engine, trust, state)

    def checkpoint(self, round_: int | None = None) -> None:
        """Make the end of a session round durable, with this party's next answer or soon."""
        self.session.checkpoint(self._state(), round_=round_, with_next=True)

    def _state(self) -> dict[str, Any]:
        hiding = {} if self.hiding is None else self.hiding.state
        return {**hiding, "trained": self.local.trained, "clipped": self.local.clipped}

    def follow(self, kind: type[Message]) -> Result | None:
        """Carry out the order of this session round; the result where it was the last."""
        session, lead = self.session, self.session.coordinator
        if kind is Assignment:
            order = session.recv(lead, Assignment)
            if order.task == Task.CONCLUDE:
                return self._conclude(order)
            # Whoever is late with one sum is in time for the next.
            if session.attendance.is_overtaken(lead, _ORDERS):
                self._pass_over(order)
            else:
                self._contribute(order)
            return None
        hiding = self.hiding
        if isinstance(hiding, Masking):
            self._exchange_masks(hiding, kind)
        elif isinstance(hiding, Encryption):
            self._exchange_key(hiding, kind)
        else:
            raise ProtocolError(f"{lead} sent a {kind.kind}, which aggregation 'plain' does not have")
        return None

    def _exchange_masks(self, masking: Masking, kind: type[Message]) -> None:
        session, lead = self.session, self.session.coordinator
        if kind is Advertise:
            session.send(lead, masking.advertise(session.recv(lead, Advertise)))
        elif kind is PeerKeys:
            sealed = masking.deal(session.recv(lead, PeerKeys))
            self._keys_due = session.round + 1
            self.checkpoint(session.round - 1)
            session.send(lead, sealed)
        elif kind is PeerShares:
            masking.keep(session.recv(lead, PeerShares))
            self._keys_due = None
            self.checkpoint()
        elif kind is RevealRequest:
            request = session.recv(lead, RevealRequest)
            # Without the keys there is nothing to tell; the others are asked as well.
            if self._has_keys(masking, request):
                revealed = masking.reveal(request)
                # Told once only, and told for certain: the request is not answered again.
                session.send(lead, revealed, ends=self._state())
                masking.make_ready(request)
        else:
            raise ProtocolError(f"{lead} sent a {kind.kind}, which aggregation 'masked' does not have")

    def _exchange_key(self, encryption: Encryption, kind: type[Message]) -> None:
        session, lead = self.session, self.session.coordinator
        if kind is Advertise:
            session.send(lead, encryption.advertise(session.recv(lead, Advertise)))
        elif kind is PeerKeys:
            dealt = encryption.deal(session.recv(lead, PeerKeys))
            self._keys_due = session.round + 1
            self.checkpoint(session.round - 1)
            for message in dealt or ():
                session.send(lead, message)
        elif kind is PeerShares:
            encryption.keep(session.recv(lead, PeerShares))
            self._keys_due = None
            self.checkpoint()
        elif kind is EncryptedSum:
            pieces = session.recv_stream(lead, EncryptedSum)
            first = next(pieces)
            shape = self.local.plan_of(first.numbers, first.bits)
            session.send_stream(lead, encryption.open(first, shape, pieces), len(shape.spans))
            self.checkpoint()
        else:
            raise ProtocolError(f"{lead} sent a {kind.kind}, which aggregation 'paillier' does not have")

    def _has_keys(self, hiding: Masking | Encryption, order: Assignment | RevealRequest) -> bool:
        """Whether this party has the keys that an order names.

        The last message of their exchange is not answered, so an order can overtake it. It is waited for, not so long
        that the coordinator goes on without this party.
        """
        session, due = self.session, self._keys_due
        if hiding.has_keys(order) or due is None or not hiding.is_opening(order.window):
            return hiding.has_keys(order)
        self._keys_due = None
        try:
            with session.patience(self.spec.params.deadline / 2):
                (last,) = session.recv_stream(session.coordinator, PeerShares, due)
        except PeerSilent as error:
            log.warning("the last message of an exchange of keys is missing", job=session.job, reason=str(error))
            return False
        hiding.keep(last)
        return hiding.has_keys(order)

    def _pass_over(self, order: Assignment) -> None:
        """Leave out an order that another one followed; it may have been answered before a restart."""
        if isinstance(self.hiding, Masking) and self.hiding.has_keys(order):
            self.hiding.use_up(order)
        if order.task == Task.TRAIN:
            self.local.trained += 1

    def _contribute(self, order: Assignment) -> None:
        """Answer with this party's vector, or say why there is none."""
        session, lead = self.session, self.session.coordinator
        if order.task != Task.INITIALISE and self.hiding is not None and not self._has_keys(self.hiding, order):
            log.warning("this party missed the exchange of keys and abstains", job=session.job, **_named(order))
            session.send(lead, Abstained("has no part in the keys of this sum", keyless=True))
            return
        if order.task == Task.INITIALISE:
            blob = network.weights(self.local.module).blob
            ranges = chunk_ranges(len(blob), 1)
            session.send_stream(lead, (GlobalWeights(bytes(blob[a:b])) for a, b in ranges), len(ranges))
            return
        model = self._model(order) if order.task in (Task.TRAIN, Task.EVALUATE) else None
        began = time.monotonic()
        try:
            with session.phase(order.task):
                shape, vector = self.local.vector(order, model, session.random("privacy").read)
        except TrainingDiverged as error:
            log.warning("this party abstains", job=session.job, **_named(order), reason=str(error))
            session.send(lead, Abstained(shortened(error.told)))
            return
        seconds = time.monotonic() - began
        with session.phase("hide"):
            self._send(order, shape, vector, seconds)

    def _send(self, order: Assignment, shape: Plan, vector: Iterator[tuple[int, np.ndarray]], seconds: float) -> None:
        session, lead, hiding = self.session, self.session.coordinator, self.hiding
        if isinstance(hiding, Masking):
            masked = hiding.answer(order, vector, seconds)
            self.checkpoint(session.round - 1)
            session.send_stream(lead, masked, len(shape.spans))
        elif isinstance(hiding, Encryption):
            pieces = list(hiding.answer(shape, vector, seconds))
            session.send_stream(lead, pieces, len(pieces))
            self.checkpoint()
        else:
            plain = (PlainUpdate(residues.tobytes(), seconds) for _, residues in vector)
            session.send_stream(lead, plain, len(shape.spans))
            self.checkpoint()

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
        """The model that an order is on; ProtocolError where it is not of this network's shape."""
        if not order.model:
            return self._received(GlobalWeights)
        model = Weights.parse(bytearray(order.model), self.local.layout)
        self.local.check(model, self.session.coordinator)
        return model

    def _received(self, kind: type[GlobalWeights] | type[BestWeights]) -> Weights:
        """A model that the coordinator sent in this round; ProtocolError where it is not of this network's shape."""
        blob = bytearray()
        for message in self.session.recv_stream(self.session.coordinator, kind):
            blob += message.data
            if len(blob) > self.local.layout.size + _HEADER_BYTES:
                raise ProtocolError(f"{self.session.coordinator} sent a model larger than this network")
        model = Weights.parse(blob, self.local.layout)
        self.local.check(model, self.session.coordinator)
        return model


def _named(order: Assignment) -> dict[str, Any]:
    """What an order is for, for the log: rounds of training are counted from 1, as everywhere where people read."""
    return {"task": order.task, **({"round": order.number + 1} if order.task == Task.TRAIN else {})}
