"""What the program knows of an algorithm: one entry, from which all else follows."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from fedbus.job import JobSpec
from fedbus.messages.envelope import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """An algorithm.

    Attributes:
        job: the class of its jobs, which says of itself what services must know.
        kinds: the messages that its jobs send beside those of every job; see `kinds_of`.
        party: the module of a party's side, a parties.side.PartySide.
        coordinator: that of the coordinator's, a coordinator.side.CoordinatorSide. Both are loaded when a job needs
            them: who trains no network does without torch.
    """

    job: type[JobSpec]
    kinds: tuple[type[Message], ...]
    party: str
    coordinator: str


def kinds_of(*modules: ModuleType) -> tuple[type[Message], ...]:
    """The kinds of messages that modules define, in their order: whatever is a Message and has a kind of its own."""
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Message) and "kind" in vars(value)
    )
