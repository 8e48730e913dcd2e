"""`fedbus new` and `fedbus up` as a user runs them: a job of own tables, ended and started again in the middle."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fedbus.broker.node.server import is_free
from fedbus.client import Client
from fedbus.environment import broker_url
from fedbus.job import JobState
from fedbus.messages.control import Progress, StateChanged
from fedbus.service.process import script
from fedbus.statuses import Status
from fedbus.trial.layout import load
from places import DATA

WAIT = 100.0
MEMBERS = ("--party", "shop", "--party", "bank", "--client", "olga")
SAMPLE = DATA / "sample"

Up = Callable[[], subprocess.Popen[str]]


def fedbus(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*script("fedbus"), *arguments], env=bare() | environment, capture_output=True, text=True, timeout=WAIT
    )


def bare() -> dict[str, str]:
    """The environment of a user who has set nothing of fedbus but where RabbitMQ is."""
    kept = ("FEDBUS_RABBITMQ", "FEDBUS_CACHE")
    return {name: value for name, value in os.environ.items() if not name.startswith("FEDBUS_") or name in kept}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "trial"


@pytest.fixture
def up(folder: Path) -> Iterator[Up]:
    """`fedbus up` of the folder; what still runs at the end of a test is killed, and its children end by that."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*script("fedbus"), "up", str(folder)],
            env=bare(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until_all_serve(process: subprocess.Popen[str]) -> list[str]:
    """The lines that it prints until then."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("all serve"):
            return lines
    assert process.stderr is not None
    raise AssertionError(f"{lines}: {process.stderr.read()}")


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(number)
    said, told = process.communicate(timeout=WAIT)
    return process.returncode, said, told


def variables(folder: Path, client: str) -> dict[str, str]:
    """As the client's shell has them after it has read the client's file."""
    lines = (folder / client / f"{client}.sh").read_text().splitlines()
    pairs = [shlex.split(line.removeprefix("export "))[0] for line in lines if line.startswith("export ")]
    return dict(pair.split("=", 1) for pair in pairs)


def fill(folder: Path) -> Path:
    """Do as a reader of the folder's README: name the tables, and the label. Returns the job file."""
    for party, table in (("shop", "products.csv"), ("bank", "users.csv")):
        file = folder / party / f"{party}.toml"
        text = (
            file.read_text().replace("# [datasets", "[datasets").replace("# source", "source").replace("# id =", "id =")
        )
        text = text.replace('"table.csv"', f'"{SAMPLE / table}"').replace('id = "id"', 'id = "user_id"')
        file.write_text(text)
    job = folder / "olga" / "vertical-linear.toml"
    job.write_text(job.read_text().replace("LABEL", "MEDV"))
    return job


def secrets_of(folder: Path) -> dict[str, Path]:
    """Each member's password and private key, and the one file that has it."""
    found = {}
    for name in load(folder).roles:
        url, key = folder / name / f"{name}.url", folder / name / f"{name}.key"
        found[urlsplit(url.read_text().strip()).password or "none"] = url
        found[key.read_text().strip().rpartition(":")[2]] = key
    assert len(found) == 8
    return found


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that have the folder's path in them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in line:
                found.append(line)
    return found


def test_own_tables_are_trained_on_and_a_job_goes_on_at_the_next_up(folder: Path, up: Up) -> None:
    assert fedbus("new", str(folder), *MEMBERS).returncode == 0
    job_file = fill(folder)
    # Long enough to be in the middle of when the processes are asked to end.
    job_file.write_text(job_file.read_text() + '\n[params]\nsolver = "sgd"\nmax_epochs = 30\ntolerance = 0.0\n')
    own, port = variables(folder, "olga"), load(folder).port
    first = up()
    lines = until_all_serve(first)
    commands = processes_of(folder)
    assert len(commands) > 4
    assert [line.split(":")[0] for line in lines[:4]] == ["broker", "coordinator", "shop", "bank"]
    assert all("serving" in line for line in lines[:4])
    second = fedbus("up", str(folder))
    assert second.returncode == Status.BROKER
    assert f"process {first.pid} runs a RabbitMQ node in this folder already; end it first" in second.stderr
    submitted = fedbus("submit", str(job_file), **own)
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.strip()
    with Client.connect(
        broker_url(own), identity=Path(own["FEDBUS_IDENTITY"]), roster=Path(own["FEDBUS_ROSTER"])
    ) as client:
        for event in client.watch(job, WAIT):
            if isinstance(event, Progress) and event.round >= 2:
                break
            assert not (isinstance(event, StateChanged) and event.state == JobState.FAILED), event
    status, said, told = end(first)
    assert (status, told) == (Status.DONE, "")
    assert "stopping; unfinished jobs go on" in said
    assert processes_of(folder) == []
    assert is_free(port)
    again = up()
    until_all_serve(again)
    report = folder.parent / "report.json"
    watched = fedbus("watch", job, "--json", str(report), **own)
    assert watched.returncode == 0, watched.stderr
    found = json.loads(report.read_text())
    assert (found["state"], found["rounds"]) == ("succeeded", 30)
    status, last, _ = end(again)
    assert status == Status.DONE
    printed = "".join([*commands, *lines, said, last, submitted.stderr, watched.stdout, watched.stderr])
    for secret, file in secrets_of(folder).items():
        assert secret not in printed
        assert [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()] == [file]
    log = (folder / "logs" / "coordinator.log").read_text()
    # It is the job of the first run that went on.
    assert (log.count("connected to RabbitMQ"), log.count("job received")) == (2, 1)
    assert not [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077 and "node" not in path.parts
    ]


def test_a_member_that_dies_is_said_with_its_last_lines_and_the_others_go_on(folder: Path, up: Up) -> None:
    assert fedbus("new", str(folder), *MEMBERS, "--tls").returncode == 0
    process = up()
    until_all_serve(process)
    (victim,) = [int(entry.name) for entry in Path("/proc").iterdir() if _is(entry, "fedbus-party", f"{folder}/bank/")]
    os.kill(victim, signal.SIGKILL)
    assert process.stderr is not None
    told = [process.stderr.readline() for _ in range(4)]
    while "note: the others go on" not in told[-1]:
        told.append(process.stderr.readline())
    (death,) = [place for place, line in enumerate(told) if "error: bank ended with status -9" in line]
    assert "connected to RabbitMQ" in told[death + 1]
    # Over TLS, by certificate alone; variables of another member do not count for a whole trial.
    examined = fedbus("doctor", str(folder), **variables(folder, "olga"))
    assert examined.returncode == 0, examined.stdout
    assert [
        line for line in examined.stdout.splitlines() if line.startswith(("coordinator ", "party ", "client "))
    ] == [
        "coordinator coordinator",
        "party shop",
        "party bank",
        "client olga",
    ]
    assert examined.stdout.count("login by certificate") == 4
    assert "this party's process does not run" in examined.stdout
    jobs = fedbus("jobs", **variables(folder, "olga"))
    assert (jobs.returncode, jobs.stderr) == (0, "")
    status, _, told_last = end(process, signal.SIGINT)
    assert (status, told_last) == (Status.OTHER, "error: bank had ended before\n")
    assert processes_of(folder) == []


def test_nothing_outlives_one_that_was_killed_and_the_next_one_starts(folder: Path, up: Up) -> None:
    assert fedbus("new", str(folder), *MEMBERS).returncode == 0
    process = up()
    until_all_serve(process)
    process.kill()
    while processes_of(folder):
        time.sleep(0.05)
    again = up()
    until_all_serve(again)
    assert end(again)[0] == Status.DONE


def test_the_readme_s_commands_start_it_one_by_one(folder: Path) -> None:
    assert fedbus("new", str(folder), *MEMBERS, "--tls").returncode == 0
    commands = [line.strip() for line in (folder / "README.md").read_text().splitlines() if line.startswith("    ")]
    by_hand = [line for line in commands if "fedbus broker " in line or " fedbus-" in line]
    assert len(by_hand) == 4
    path = f"{Path(script('fedbus')[0]).parent}{os.pathsep}{os.environ['PATH']}"
    started = []
    try:
        for command in by_hand:
            # As the shell itself, so that a signal reaches it.
            env, _, rest = command.rpartition("fedbus")
            started.append(
                subprocess.Popen(
                    ["sh", "-c", f"{env}exec fedbus{rest}"],
                    cwd=folder,
                    env=bare() | {"PATH": path},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
            stdout = started[-1].stdout
            assert stdout is not None
            assert "serv" in stdout.readline(), command
        (source,) = [line for line in commands if line.startswith(". ")]
        asked = subprocess.run(
            ["sh", "-c", f". ./{source[2:]} && fedbus jobs && fedbus doctor ."],
            cwd=folder,
            env=bare() | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        assert asked.returncode == 0, asked.stderr
    finally:
        for process in reversed(started):
            process.terminate()
            process.communicate(timeout=WAIT)
    assert [process.returncode for process in started] == [0, 0, 0, 0]


def test_a_broker_that_dies_ends_all(folder: Path, up: Up) -> None:
    assert fedbus("new", str(folder), *MEMBERS).returncode == 0
    process = up()
    until_all_serve(process)
    os.kill(int((folder / "broker" / "node" / "server.pid").read_text()), signal.SIGKILL)
    _, told = process.communicate(timeout=WAIT)
    assert process.returncode == Status.BROKER
    assert "error: the RabbitMQ node ended" in told
    assert processes_of(folder) == []


def test_a_member_that_does_not_start_ends_all_with_its_reason(folder: Path, up: Up) -> None:
    assert fedbus("new", str(folder), *MEMBERS).returncode == 0
    url = folder / "bank" / "bank.url"
    url.write_text(url.read_text().replace("bank:", "bank:wrong"))
    process = up()
    _, told = process.communicate(timeout=WAIT)
    assert process.returncode == Status.BROKER
    assert "error: bank did not start" in told
    assert "refuses user bank" in told
    assert processes_of(folder) == []


def _is(entry: Path, *parts: str) -> bool:
    if not entry.name.isdigit():
        return False
    try:
        line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return False
    # Not the supervisor nor a child for arithmetic: the member itself has its file's path.
    return all(part in line for part in parts)
