"""What the program knows of an algorithm: one entry, from which all else follows."""

from __future__ import annotations

from dataclasses import dataclass

from fedbus.jobs import JobSpec


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm.

    Attributes:
        job: the class of its jobs, which says of itself what services must know.
        party: the module of a party's side, a parties.side.PartySide.
        coordinator: that of the coordinator's, a coordinator.side.CoordinatorSide. Both are loaded when a job needs
            them: who trains no network does without torch.
    """

    job: type[JobSpec]
    party: str
    coordinator: str
