"""All that each participant of a job receives, recorded, with the coordinator's private key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from coordinator.service import Service
from fedbus import codec
from fedbus.algorithms.vertical.messages import JobKey
from fedbus.broker.base import Broker, Delivery
from fedbus.cli import simulation
from fedbus.crypto.engine import Engine
from fedbus.crypto.paillier import PrivateKey
from fedbus.messages.control import Alive, Ping, Resend, ResendAfter
from fedbus.messages.envelope import Envelope, TensorMessage
from fedbus.session.post import Post
from fedbus.store.records import Checkpoint
from fedbus.store.sqlite import SqliteStore
from federation import ROLES, Federation
from parties.worker import Worker


@dataclass
class Recording:
    """What each participant received, and the coordinator's key."""

    received: dict[str, list[Envelope]] = field(default_factory=dict)
    private: PrivateKey | None = None
    report: dict[str, Any] = field(default_factory=dict)
    layout: Any = None

    def columns(self) -> dict[str, int]:
        """The columns that each party trains, as the coordinator told all."""
        return next(e.payload.columns for e in self.received["shop"] if isinstance(e.payload, JobKey))

    def tensors(self, recipient: str, kind: str) -> list[tuple[Envelope, list[int]]]:
        """The ciphertexts in each message of a kind."""
        found = []
        for envelope in self.received[recipient]:
            if envelope.kind == kind and isinstance(envelope.payload, TensorMessage):
                tensor = envelope.payload.tensor
                parts = range(0, len(tensor.blob), tensor.width)
                found.append((envelope, [int.from_bytes(tensor.blob[p : p + tensor.width], "big") for p in parts]))
        return found

    def opened(self, kind: str) -> list[tuple[Envelope, list[int]]]:
        """What the coordinator decrypts of each message of a kind."""
        return [
            (envelope, [int(value) for value in self.key.decrypt_residues(envelope.payload.tensor)])
            for envelope in self.received["coordinator"]
            if envelope.kind == kind and isinstance(envelope.payload, TensorMessage)
        ]

    @property
    def key(self) -> PrivateKey:
        assert self.private is not None
        return self.private


def record(federation: Federation) -> Recording:
    """Run a job with stores that record."""
    recording = Recording()

    def spy(role: Callable[..., Any]) -> Callable[..., Any]:
        def make(config: Any, broker: Broker, store: SqliteStore, engine: Engine, url: str) -> Any:
            write = store.write

            def written(job: str, *, checkpoint: Checkpoint | None = None, **named: Any) -> list[bool]:
                primes = codec.unpack(checkpoint.state)["state"].get("primes") if checkpoint else None
                if primes:
                    recording.private = PrivateKey.from_primes(*(int.from_bytes(prime, "big") for prime in primes))
                return write(job, checkpoint=checkpoint, **named)

            store.write = written  # type: ignore[method-assign]
            return role(config, broker, store, engine, url)

        return make

    roles = simulation.Roles(coordinator=spy(Service), party=spy(Worker), compare=ROLES.compare)
    take = Post._take

    def taken(post: Post, envelope: Envelope, delivery: Delivery) -> None:
        if not isinstance(envelope.payload, Resend | ResendAfter | Ping | Alive):
            recording.received.setdefault(envelope.recipient, []).append(envelope)
        take(post, envelope, delivery)

    with pytest.MonkeyPatch.context() as patch:
        # Where it is open: on its way it is sealed.
        patch.setattr(Post, "_take", taken)
        recording.report = federation.run(roles=roles)
    assert recording.report["state"] == "succeeded"
    return recording
