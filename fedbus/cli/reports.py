"""How a report leaves a command: shown on the terminal and written for machines, and neither is lost by the other."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from fedbus import files, terminal
from fedbus.cli.report import print_report, to_json, write_report
from fedbus.errors import ConfigError, JobFailed, NotFound, OutputError
from fedbus.job import UNKNOWN
from fedbus.report import Report

_STDOUT = "-"


def check_writable(json_file: Path | None) -> None:
    """Raise ConfigError where a file cannot be written, before the work and not after it."""
    if json_file is None or str(json_file) == _STDOUT:
        return
    folder = json_file.absolute().parent
    try:
        is_there, is_folder = files.exists(json_file), files.is_folder(json_file)
        has_folder = files.is_folder(folder)
    except OSError as error:
        raise ConfigError(f"--json: {json_file} cannot be written: {error.strerror}") from error
    if is_folder:
        raise ConfigError(f"--json: {json_file} is a folder; name a file, {json_file / 'report.json'} for example")
    if not has_folder:
        raise ConfigError(f"--json: {json_file} cannot be written: there is no folder {folder}; make it first")
    if not os.access(json_file if is_there else folder, os.W_OK | (0 if is_there else os.X_OK)):
        what = "write to it" if is_there else f"write to the folder {folder}"
        raise ConfigError(f"--json: {json_file} cannot be written: this user may not {what}; name another file")


def finish(report: Report, json_file: Path | None, again: str = "") -> None:
    """Show a report and write it.

    Args:
        again: the command that has the report once more; where there is none, a report that cannot be written to its
            file is written to another.

    Raises:
        JobFailed: the job did not succeed.
        NotFound: the coordinator has no such job.
        OutputError: the report could not be shown, or not written; the other was done.
    """
    troubles = []
    try:
        if report.succeeded and str(json_file) != _STDOUT:
            print_report(report)
    except OutputError as error:
        troubles.append(error)
    try:
        if json_file is not None:
            write(report.to_map(), json_file)
    except OutputError as error:
        troubles.append(OutputError(f"{error}; {again or _elsewhere(report)}"))
    if not report.succeeded:
        for trouble in troubles:
            terminal.tell(f"error: {trouble}", "red")
        if report.state == UNKNOWN:
            raise NotFound(f"{report.reason}; `fedbus jobs` lists those that it has")
        raise JobFailed(f"job {report.job} {report.state}: {report.reason}")
    for trouble in reversed(troubles):
        raise trouble


def write(document: dict[str, Any], json_file: Path) -> None:
    """Write a report, or what else a command has, as JSON; `-` is standard output.

    Raises:
        OutputError: it cannot be written; a file that was there is as it was.
    """
    if str(json_file) == _STDOUT:
        terminal.write(to_json(document) + "\n")
    else:
        write_report(document, json_file)


def _elsewhere(report: Report) -> str:
    """Write a report that no command could have again to a new file. Return where it is."""
    path = Path(tempfile.gettempdir())
    try:
        number, name = tempfile.mkstemp(prefix=f"fedbus-report-{report.job}-", suffix=".json", dir=path)
        path = Path(name)
        with open(number, "w", encoding="utf-8") as file:  # noqa: PTH123  # a descriptor
            file.write(to_json(report.to_map()) + "\n")
    except OSError as error:
        return f"nor could {path}: {error.strerror}"
    return f"the report is in {path}"
