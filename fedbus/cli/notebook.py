"""`fedbus.simulate`: a whole federation in this process, for scripts and notebooks.

It prints nothing, installs no signal handlers and may run in any thread, in one with a running event loop too.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from fedbus import settings
from fedbus.algorithms import registry
from fedbus.algorithms.registry import JobSource
from fedbus.cli import simulation
from fedbus.cli.checks import hold_parties
from fedbus.errors import JobFailed
from fedbus.messages.control import Event
from fedbus.report import Report
from fedbus.settings import PartySettings

# A party as a program may have it: as the path of its file, or as the map that the file would be.
PartySource = Mapping[str, Any] | Path | str

_lock, _running = threading.Lock(), 0

_NOT_GUARDED = (
    'fedbus.simulate: call it below `if __name__ == "__main__":`; child processes, which do the arithmetic, import the'
    " script"
)


def simulate(
    job: JobSource,
    parties: Sequence[PartySource],
    *,
    progress: Callable[[Event], object] | None = None,
    keep: Path | str | None = None,
) -> Report:
    """Run a job with every party's data on this machine, and compare its model with that of the pooled data.

    All roles run as threads of this process, on a broker in its memory. Heavy arithmetic runs in child processes, which
    import the script that started them: a script calls this below `if __name__ == "__main__":`. Each party's model is
    copied into the store that its `state` names.

    Args:
        job: a job's specification, the path of a job file, or a map of what such a file says.
        parties: the path of a party file, or a map of what such a file says, of each party of the job. Paths in a map
            are relative to the current folder.
        progress: called with each event, such as a `Progress` after each round; what it raises ends the simulation.
        keep: a new folder for the simulation's stores, logs and report. Without it they are in a temporary folder,
            which is removed.

    Returns:
        The report of a job that succeeded, of the algorithm's own class.

    Raises:
        ConfigError: the job or a party's settings are wrong, or do not fit each other.
        DataError: a table is missing or wrong.
        JobRefused: a party's policy does not allow the job, or the parties' tables do not fit it or each other.
        StoreError: what a party calls its store is none.
        JobFailed: the job failed.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A child process imports the script that started it, which was to call this in its main part only.
        raise SystemExit(_NOT_GUARDED)
    spec = registry.job_from(job)
    where = Path(job) if isinstance(job, Path | str) else Path("job")
    given = [_party(party, number) for number, party in enumerate(parties)]
    loaded = [party for _, party in given]
    simulation.check_complete(where, spec, loaded, "in `parties`")
    hold_parties(where, spec, given)
    roles = simulation.usual_roles()
    watch = progress or (lambda _: None)
    with _quiet():
        report = simulation.run_in_memory(
            spec, loaded, roles, watch, lambda _: None, None if keep is None else Path(keep)
        )
    if not report.succeeded:
        raise JobFailed(f"job {report.job} {report.state}: {report.reason}")
    return report


def _party(source: PartySource, number: int) -> tuple[Path, PartySettings]:
    """Return a party's settings, after what stands for its file in errors."""
    if isinstance(source, Mapping):
        where = Path(f"parties[{number}]")
        return where, settings.party_of(source, where, simulation.ENVIRONMENT)
    return Path(source), settings.load_party(Path(source), simulation.ENVIRONMENT)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Log warnings only, to standard error, for as long as simulations run; unless the program has set up structlog."""
    global _running
    with _lock:
        mine = _running > 0 or not structlog.is_configured()
        if mine and not _running:
            structlog.configure(
                wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
                logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            )
        _running += mine
    try:
        yield
    finally:
        with _lock:
            _running -= mine
            if mine and not _running:
                structlog.reset_defaults()
