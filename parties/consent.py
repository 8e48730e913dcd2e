"""What a party's policy says of its own part of a job: who submitted it, and which of the party's data it names."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import structlog

from fedbus.errors import JobRefused
from fedbus.job import JobSpec
from parties.policy import Policy

log = structlog.get_logger()


def check_submitter(policy: Policy, submitter: str) -> None:
    """Hold a job's submitter against `submitters`; raises JobRefused, which names both."""
    if policy.submitters is None or submitter in policy.submitters:
        return
    whose = f"of '{submitter}'" if submitter else "whose submitter is not known"
    raise JobRefused(
        f"this party takes part in no job {whose}: its policy's `submitters` does not list that client; ask its"
        " operator to add it, or have a client submit the job that is listed"
    )


def check_part(policy: Policy, spec: JobSpec, party: str) -> None:
    """Hold the data set and the label that a job names at a party against `datasets`, `labels` and `epsilon`.

    Raises:
        JobRefused: names the rule, the setting and the remedy.
    """
    part, label = spec.part_of(party), spec.label_of(party)
    # The rules for training rows are not passed by naming their data set as held-out rows.
    for dataset in filter(None, (part.dataset, part.test)):
        if policy.datasets is not None and dataset not in policy.datasets:
            raise JobRefused(
                f"this party's policy allows no job to use its data set '{dataset}' (`datasets`); ask its operator to"
                " add it, or name another"
            )
    if part.dataset in policy.epsilon and spec.epsilon is None:
        raise JobRefused(
            f"this party's data set '{part.dataset}' has a budget of epsilon (`epsilon` of its policy), and the job has"
            " no section [privacy], so what it would cost has no bound; add the section to the job, or name another"
            " data set"
        )
    if part.test in policy.epsilon:
        raise JobRefused(
            f"this party's data set '{part.test}' has a budget of epsilon (`epsilon` of its policy), and losses on"
            " held-out rows carry no noise; name another data set as `test`, or none"
        )
    if label is not None and policy.labels is not None and not _matches(label, policy.labels):
        raise JobRefused(
            f"this party's policy allows no job to predict '{label}' (`labels`); ask its operator to add a pattern for"
            " it, or name another label"
        )


def check_columns(policy: Policy, dataset: str, columns: Iterable[str]) -> None:
    """Hold the columns that are features of a job against `columns`; raises JobRefused.

    The refusal travels to all who take part, so it counts columns; this party's own log names them.
    """
    if policy.columns is None:
        return
    if others := [column for column in columns if not _matches(column, policy.columns)]:
        log.warning("columns that the policy does not allow", dataset=dataset, columns=others)
        raise JobRefused(
            f"{_columns(len(others))} of this party's data set '{dataset}' may not be used (`columns` of its policy;"
            f" its log names them); its operator can leave them out by datasets.{dataset}.exclude, or add patterns"
        )


def check_ratio(policy: Policy, rows: int, columns: int) -> None:
    """Hold training rows for each column that is trained against `min_rows_per_column`; raises JobRefused."""
    if rows < policy.min_rows_per_column * columns:
        raise JobRefused(
            f"the job trains {_columns(columns)} on {rows} rows, and this party's policy asks for"
            f" {policy.min_rows_per_column:g} rows a column (`min_rows_per_column`); bring more rows or fewer columns,"
            " or ask its operator to lower it"
        )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _columns(count: int) -> str:
    return f"{count} {'column' if count == 1 else 'columns'}"
