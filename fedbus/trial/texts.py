"""The texts of a trial's files: what each member's file says, and what to do with the folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from fedbus.trial.layout import Cast, TrialFolder

_TABLE = """\
# A table that this party offers to jobs. Take away the marks, and write your own file and its column of ids:
#
# [datasets.{dataset}]                # the name that job files have
# source = "{dataset}.csv"            # CSV, TSV or Parquet; relative to this file, or the whole path
# id = "id"                          # the column that identifies a row
"""
_POLICY = """\
# What this party consents to; docs/reference/party-file.md has all keys.
[policy]
"""
# What a party's data set is called until somebody says so.
DATASET = "table"


@dataclass(frozen=True)
class Dataset:
    """A table of a party, as its file will name it.

    Attributes:
        source: the whole path of its file.
        columns: of the file, the id among them.
    """

    name: str
    source: Path
    id: str
    columns: tuple[str, ...] = ()


def party_file(name: str, datasets: Sequence[Dataset], tls: Mapping[str, Path]) -> str:
    """Write a party's own file. Without data sets it shows how one is written."""
    parts = [_member("A party of a trial", name, {}, tls)]
    for dataset in datasets:
        fields = {"source": str(dataset.source), "id": dataset.id}
        parts.append(tomli_w.dumps({"datasets": {dataset.name: fields}}))
    if not datasets:
        parts.append(_TABLE.format(dataset=DATASET))
    return "\n".join([*parts, _POLICY])


def coordinator_file(cast: Cast, tls: Mapping[str, Path]) -> str:
    """Write the coordinator's own file."""
    others = {"parties": list(cast.parties), "operators": list(cast.clients)}
    return _member("The coordinator of a trial", cast.coordinator, others, tls)


def trial_file(fields: Mapping[str, Any]) -> str:
    """Write the file that `fedbus up` reads."""
    return "# What `fedbus up` starts, made by `fedbus new`.\n" + tomli_w.dumps(fields)


def client_variables(layout: TrialFolder, name: str, tls: Mapping[str, Path]) -> str:
    """Write a client's variables, for its shell to read."""
    files = {
        "FEDBUS_AMQP_URL_FILE": layout.own(name, ".url"),
        "FEDBUS_IDENTITY": layout.own(name, ".key"),
        "FEDBUS_ROSTER": layout.roster(name),
        **{f"FEDBUS_AMQP_{key.upper()}": file for key, file in tls.items()},
    }
    lines = [f"# Who reads this by `.` submits jobs as {name}.", "unset FEDBUS_AMQP_URL"]
    lines += [f"export {variable}={shlex.quote(str(file))}" for variable, file in files.items()]
    return "\n".join(lines) + "\n"


def job_file(draft: Mapping[str, Any], *, label: bool) -> str:
    """Write a job file for somebody to begin with.

    Args:
        label: whether the label is known, or is still to be written.
    """
    lines = ["# A job to begin with; docs/reference/job-file.md has all keys."]
    if not label:
        lines.append("# Write the label, which is the column to predict, and the data sets as party files name them.")
    return "\n".join(lines) + "\n" + tomli_w.dumps(draft)


def readme(cast: Cast, jobs: Iterable[str], *, filled: bool) -> str:
    """Say what to do with the folder, in which the commands are run.

    Args:
        jobs: names of the job files that each client has.
        filled: whether all parties have data sets.
    """
    client, first = cast.clients[0], next(iter(jobs), "job.toml")
    secure = " --certificates certificates/broker" if cast.tls else ""
    fill = (
        "Each party's file names its table."
        if filled
        else "Write each party's table into its file, `NAME/NAME.toml`, where a comment shows how."
    )
    services = [f"FEDBUS_AMQP_URL_FILE={name}/{name}.url {_service(cast, name)}" for name in cast.services]
    lines = [
        "# A federation for a trial on this machine",
        "",
        f"Coordinator: {cast.coordinator}. Parties: {', '.join(cast.parties)}. Clients: {', '.join(cast.clients)}.",
        f"{fill} Run the commands below in this folder.",
        "",
        "In one terminal, until Ctrl-C ends it:",
        "",
        "    fedbus up .",
        "",
        f"In another one, as the client {client}:",
        "",
        f"    . {client}/{client}.sh",
        f"    fedbus check {client}/{first}" + "".join(f" --party {party}/{party}.toml" for party in cast.parties),
        f"    fedbus submit {client}/{first} --watch",
        "",
        "What `fedbus up` starts can be started one by one, as it would be in several places, each in a terminal of",
        "its own:",
        "",
        f"    fedbus broker broker/node --definitions broker/definitions.json --port {cast.port}{secure}",
        *(f"    {line}" for line in services),
        "",
        "If a member does not do what you expect, this says why:",
        "",
        "    fedbus doctor .",
        "",
        "Everything is in this folder, also what jobs left: remove it, and nothing is left. It holds private keys and",
        "passwords, so that nobody else may read it.",
    ]
    return "\n".join(lines) + "\n"


def _service(cast: Cast, name: str) -> str:
    program = "fedbus-coordinator" if name == cast.coordinator else "fedbus-party"
    return f"{program} --config {name}/{name}.toml"


def _member(what: str, name: str, others: Mapping[str, Any], tls: Mapping[str, Path]) -> str:
    """Write the beginning of a member's file. Tables come last in TOML."""
    fields: dict[str, Any] = {
        "name": name,
        "state": f"state/{name}.db",
        "identity": f"{name}.key",
        "roster": "roster.toml",
        **others,
    }
    if tls:
        # Relative, so that the folder may be moved.
        fields["broker"] = {key: f"../{'/'.join(file.parts[-4:])}" for key, file in tls.items()}
    head = f"# {what}. Paths are relative to this file. Its login at the broker is in {name}.url, which\n"
    return head + "# FEDBUS_AMQP_URL_FILE names.\n" + tomli_w.dumps(fields)
