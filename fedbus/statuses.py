"""The exit statuses of all commands, and what each means: the one home of both.

docs/reference/exit-statuses.md is made of it. What was asked for and cannot be had is told apart from what was tried
and failed, so that a script can do so.
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """An exit status.

    Attributes:
        meaning: for whoever reads the table.
    """

    meaning: str

    def __new__(cls, number: int, meaning: str) -> Status:
        status = int.__new__(cls, number)
        status._value_ = number
        status.meaning = meaning
        return status

    DONE = 0, "done, or stopped as asked, or queued for a coordinator that does not run yet, which a note says"
    OTHER = 1, "an error of fedbus without a class of its own"
    CONFIGURATION = 2, "a wrong setting, job file or command line"
    DATA = 3, "a data source is missing or wrong"
    JOB = 4, "the job was refused, failed or was cancelled, or had ended before it could be cancelled"
    PROTOCOL = 5, "a peer broke the protocol"
    BROKER = (
        6,
        "the broker cannot be reached or refuses, no coordinator answers, or the connection ended by an internal error"
        " (the log has its traceback)",
    )
    STORE = (
        7,
        "the store cannot be opened, is damaged, or is no store of this version; the line says which and what to do",
    )
    OUTPUT = (
        8,
        "all was done, but its result could not be shown (standard output is full or closed) or not be written to the"
        " file of `--json`; the line says where it is, or how to have it again",
    )
    NOT_FOUND = 9, "the coordinator has no such job, or the store no such model"
    INTERRUPTED = (
        130,
        "a command was ended by SIGINT, SIGTERM or SIGHUP; a job that it followed goes on, a simulation has removed its"
        " stores",
    )
    READER_GONE = 141, "whoever read standard output wanted no more, as `head` does"
