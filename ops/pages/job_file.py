"""The page of job files: what every job has, and a section for each algorithm of the registry."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from docstrings import about
from fedbus.algorithms.registry import ALGORITHMS
from fedbus.job import JobSpec
from structures import sections
from text import code, heading, page, paragraph

_ABOUT = (
    "A job file says what is to be trained, on whose data. It is TOML, and is UTF-8, or UTF-16 with a byte order mark."
    " Its keys are those of every job, below, and those of its algorithm. A key that is not known, a value out of its"
    " bounds, and a key that has no effect are errors, which name the file, the key and the nearest one that is known."
    " `fedbus check JOB_FILE` tells them without running anything. The [quickstart](../quickstart.md) has a job file"
    " for each kind of data."
)


def render() -> str:
    """The page."""
    return page(
        "Job file",
        paragraph(_ABOUT),
        heading(2, "Every job"),
        *sections(JobSpec, level=3),
        *_algorithms(),
    )


def _algorithms() -> Iterator[str]:
    common = frozenset(field.encode_name for field in msgspec.structs.fields(JobSpec))
    for entry in ALGORITHMS:
        name = code(entry.job.ALGORITHM)
        yield heading(2, name)
        yield from map(paragraph, about(entry.job).split("\n\n"))
        yield from sections(entry.job, level=3, of=name, known=common)
