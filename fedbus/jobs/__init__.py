"""What a job is: its specification, validated; its states; how a job file is read."""

from fedbus.jobs.average import AverageJob
from fedbus.jobs.files import ALGORITHMS, load, new_id, parse
from fedbus.jobs.linear import Guest, Host, LinearJob, LinearParams
from fedbus.jobs.spec import (
    COORDINATOR,
    MAX_ROUNDS,
    MIN_KEY_BITS,
    UNKNOWN,
    JobSpec,
    JobState,
    Limits,
    Part,
    is_final,
)
from fedbus.messages.fields import Name

__all__ = [
    "ALGORITHMS",
    "COORDINATOR",
    "MAX_ROUNDS",
    "MIN_KEY_BITS",
    "UNKNOWN",
    "AverageJob",
    "Guest",
    "Host",
    "JobSpec",
    "JobState",
    "Limits",
    "LinearJob",
    "LinearParams",
    "Name",
    "Part",
    "is_final",
    "load",
    "new_id",
    "parse",
]
