"""Predictions of a party's held-out rows, as a file of its own: they never leave it.

The party that holds the label writes them: of a vertical job the guest, of a horizontal one each party.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from fedbus.errors import ConfigError
from fedbus.files import write_whole
from fedbus.settings import PartySettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model says of held-out rows.

    Attributes:
        ids: of the rows.
        label: (rows,) as the table has it.
        scores: (rows,) in the label's unit; of classes the probability of class 1, or the class.
        probabilities: (rows, classes) where there are more than two outputs, otherwise None.
    """

    ids: Sequence[str]
    label: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray | None = None

    def to_csv(self) -> str:
        """id, label, score, and a column for each class's probability."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        classes = 0 if self.probabilities is None else self.probabilities.shape[1]
        writer.writerow(["id", "label", "score", *(f"probability_{number}" for number in range(classes))])
        for row, row_id in enumerate(self.ids):
            numbers = [self.label[row], self.scores[row]]
            if self.probabilities is not None:
                numbers += [*self.probabilities[row]]
            writer.writerow([row_id, *(repr(float(number)) for number in numbers)])
        return text.getvalue()


def file_of(settings: PartySettings, job: str) -> Path | None:
    """Where the predictions of a job belong; None where the party file names no folder for them."""
    return settings.path(settings.outputs.folder) / f"{job}.csv" if settings.outputs.folder else None


def check(settings: PartySettings) -> None:
    """Make sure that predictions could be written, before a job takes hours; raises ConfigError with the remedy."""
    if not settings.outputs.folder:
        return
    folder = settings.path(settings.outputs.folder)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{settings.name}'s party file: outputs.folder: no file can be written in {there}; name another folder, or"
            " let this user write there"
        )


def keep(settings: PartySettings, job: str, predictions: Predictions | None) -> None:
    """Write what the party file wants, for this user alone; a full disk is no reason to lose the model."""
    path = file_of(settings, job)
    if path is None or predictions is None:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, predictions.to_csv(), mode=0o600)
    except OSError as error:
        log.error("predictions cannot be written", job=job, file=str(path), error=error.strerror)  # noqa: TRY400
    else:
        log.info("predictions of held-out rows written", job=job, file=str(path))
