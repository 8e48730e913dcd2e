"""A party writes predictions of its held-out rows into a file of its own: they never leave it.

The party that holds the label writes them: of a vertical job the guest, of a horizontal one each party.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from fedbus.errors import NoPredictions
from fedbus.files import reason, write_whole
from fedbus.job import JobSpec
from fedbus.settings import PartySettings

log = structlog.get_logger()

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The predictions of a model for held-out rows.

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
        """Return CSV of id, label, score, and a column for each class's probability."""
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
    """Return where the predictions of a job belong; None where the party file names no folder for them."""
    return settings.path(settings.outputs.folder) / f"{job}.csv" if settings.outputs.folder else None


def check(settings: PartySettings, spec: JobSpec) -> None:
    """Make sure that predictions can be written, before a job takes hours: make the folder, and a file that goes again.

    Raises:
        NoPredictions: with file, setting and remedy.
    """
    folder = settings.path(settings.outputs.folder)
    if not settings.outputs.folder or spec.label_of(settings.name) is None or spec.part_of(settings.name).test is None:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
    except (OSError, ValueError) as error:
        raise NoPredictions(
            f"{settings.file}: outputs.folder: predictions of held-out rows cannot be written to {folder}"
            f" ({_reason(error, folder / 'probe')}); name another folder, or let this user write there"
        ) from error


def keep(settings: PartySettings, job: str, predictions: Predictions | None) -> dict[str, Any]:
    """Write what the party file wants, for this user alone; a full disk is no reason to lose the model.

    Returns:
        Of the figures for the report `predictions`, where any were to be written: whether they are `written`, with the
        `file` or the `reason` why not. A path is for this party and its log alone, but where all parties are one
        operator's.
    """
    path = file_of(settings, job)
    if path is None or predictions is None:
        return {}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, predictions.to_csv(), mode=0o600)
    except (OSError, ValueError) as error:
        log.error("predictions cannot be written", job=job, file=str(path), error=_reason(error, path))  # noqa: TRY400
        if settings.simulation:
            return {"predictions": {"written": False, "reason": f"{path}: {_reason(error, path)}"}}
        full = isinstance(error, OSError) and error.errno in _FULL
        reason = f"its {'disk is full' if full else 'folder takes none'}; its log says more"
        return {"predictions": {"written": False, "reason": reason}}
    log.info("predictions of held-out rows written", job=job, file=str(path))
    return {"predictions": {"written": True, **({"file": str(path)} if settings.simulation else {})}}


def _reason(error: Exception, path: Path) -> str:
    return reason(error, path) if isinstance(error, OSError) else str(error)
