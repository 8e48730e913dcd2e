"""Kill processes and the broker under a job, at any instant from its submission to its report.

    ops/chaos                                       # every kind of job once, with the options below as they are
    ops/chaos gram2 masked --runs 5 --seed 7 --broker-kills 2
    ops/chaos --list

A run holds if the job succeeds everywhere with the losses and models, bit for bit, of a run in which nothing happens,
and leaves no queue, no traceback and no process that would not stop. Each run prints one line of JSON as it ends; the
last line is the summary. All of it runs on 127.0.0.1 in temporary folders, which a run that does not hold leaves
behind. The seed decides what is killed and when; when a process hears of it is the machine's choice.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import kinds
from victims import Federation, Follower, outcome

from fedbus.errors import FedbusError
from fedbus.service import process
from fedbus.store.sqlite import SqliteStore

_FIGURES = ("loss", "test_loss", "rounds", "train", "test")


def main() -> int:
    """Run what the command line asks for; 1 where a run did not hold."""
    parser = argparse.ArgumentParser(
        prog="ops/chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "kinds", nargs="*", metavar="KIND", help=f"of {', '.join(kinds.KINDS)}; all where none is named"
    )
    parser.add_argument("--list", action="store_true", help="print the kinds of jobs and end")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="of each kind (default 1)")
    parser.add_argument("--kills", type=int, default=6, metavar="N", help="of processes in a run, at most (default 6)")
    parser.add_argument("--broker-kills", type=int, default=1, metavar="N", help="in a run, at most (default 1)")
    parser.add_argument("--losses", type=int, default=0, metavar="N", help="of the broker's data in a run (default 0)")
    parser.add_argument("--gap", type=float, default=1.5, metavar="S", help="seconds between two of them (default 1.5)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the first run (default 1)")
    parser.add_argument("--limit", type=float, default=300.0, metavar="S", help="seconds for one job (default 300)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the lines to this file too")
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs that held, too")
    options = parser.parse_args()
    if options.list:
        print("\n".join(kinds.KINDS))
        return 0
    if unknown := set(options.kinds) - set(kinds.KINDS):
        parser.error(f"{', '.join(sorted(unknown))}: no such kind; there are {', '.join(kinds.KINDS)}")
    process.configure_logging("error")
    results = []
    undisturbed: dict[str, dict[str, Any]] = {}
    for number in range(options.runs):
        for kind in options.kinds or kinds.KINDS:
            if kind not in undisturbed:
                undisturbed[kind] = tell(run(kind, [], options), options)
            seed = options.seed + number
            events = plan(kind, seed, options)
            result = {"seed": seed, **run(kind, events, options)}
            results.append(tell(judged(result, undisturbed[kind]), options))
    tell(summary(results), options)
    return 0 if all(result["holds"] for result in results) else 1


def plan(kind: str, seed: int, options: argparse.Namespace) -> list[tuple[str, float, float]]:
    """What happens, after how many seconds, and for how long what was killed is away."""
    draw = random.Random(f"{kind} {seed}")
    kinds_of = ["kill"] * options.kills + ["broker"] * options.broker_kills + ["loss"] * options.losses
    draw.shuffle(kinds_of)
    return [(what, draw.uniform(0, 2 * options.gap), draw.uniform(0, 1.0)) for what in kinds_of]


def run(kind: str, events: list[tuple[str, float, float]], options: argparse.Namespace) -> dict[str, Any]:
    """One job, disturbed by these events, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix=f"fedbus-chaos-{kind}-"))
    federation = Federation(kind, folder)
    draw = random.Random(repr(events))
    done: collections.Counter[str] = collections.Counter()
    try:
        federation.start()
        began = time.monotonic()
        follower = Follower(federation)
        disturb(federation, follower, events, draw, done)
        report = outcome(follower, max(1.0, began + options.limit - time.monotonic()))
        result: dict[str, Any] = {
            "kind": kind,
            "state": report["state"],
            "reason": report.get("reason", ""),
            "kills": {name: done[name] for name in federation.names if done[name]},
            "broker_kills": done["broker"],
            "broker_losses": done["loss"],
            "seconds": round(time.monotonic() - began, 1),
            "figures": {name: report.get(name) for name in _FIGURES},
            "parties_ended": follower.parties_ended,
            "queues_left": federation.queues_left(),
        }
        follower.close()
        result |= {"would_not_stop": federation.end_processes(), "tracebacks": federation.tracebacks()}
        result |= stored(federation)
    finally:
        federation.stop()
    result["folder"] = str(folder)
    return result


def disturb(
    federation: Federation,
    follower: Follower,
    events: list[tuple[str, float, float]],
    draw: random.Random,
    done: collections.Counter[str],
) -> None:
    """Let events happen for as long as the job runs; those that did are counted."""
    for what, after, away in events:
        victim = draw.choice(federation.names)
        end = time.monotonic() + after
        while time.monotonic() < end and not follower.ended.done():
            time.sleep(0.02)
        if follower.ended.done():
            return
        if what == "kill":
            federation.kill_process(victim)
            time.sleep(away)
            federation.start_process(victim)
            done[victim] += 1
            if draw.random() < 0.5:
                # Otherwise a slow machine would see processes killed only while they start.
                federation.wait_serving(victim)
            continue
        if what == "broker":
            federation.node.kill()
        else:
            federation.lose_broker()
        time.sleep(away)
        federation.node.start()
        done[what] += 1


def stored(federation: Federation) -> dict[str, Any]:
    """What each participant's store holds of the job: its state, and a digest of the model."""
    states, models = {}, {}
    for name in federation.names:
        try:
            with SqliteStore(federation.folder / f"{name}.db") as store:
                record, model = store.job(kinds.JOB), store.model(kinds.JOB)
        except FedbusError as error:
            states[name] = str(error)
            continue
        states[name] = record.state.value if record else "unknown"
        models[name] = hashlib.sha256(model).hexdigest()[:16] if model else None
    return {"states": states, "models": models}


def judged(result: dict[str, Any], undisturbed: dict[str, Any]) -> dict[str, Any]:
    """Hold a run against the one in which nothing happened."""
    result["equal_figures"] = result["figures"] == undisturbed["figures"]
    result["equal_models"] = result["models"] == undisturbed["models"]
    result["undisturbed_seconds"] = undisturbed["seconds"]
    result["holds"] = bool(
        result["state"] == "succeeded"
        and set(result["states"].values()) == {"succeeded"}
        and result["equal_figures"]
        and result["equal_models"]
        and not (result["queues_left"] or result["would_not_stop"] or result["tracebacks"])
    )
    return result


def tell(result: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Print a line, append it to the file, and remove the folder of what held."""
    told = {key: value for key, value in result.items() if key != "figures" or not result.get("holds", True)}
    line = json.dumps(told)
    print(line, flush=True)
    if options.json:
        with options.json.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    if "folder" in result and result.get("holds", True) and not options.keep:
        shutil.rmtree(result["folder"], ignore_errors=True)
    return result


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts over all runs, and which did not hold."""
    by_name: collections.Counter[str] = collections.Counter()
    for result in results:
        by_name.update(result["kills"])
    return {
        "runs": len(results),
        "held": sum(result["holds"] for result in results),
        "kills_of_processes": sum(by_name.values()),
        "by_name": dict(by_name),
        "kills_of_the_broker": sum(result["broker_kills"] for result in results),
        "losses_of_its_data": sum(result["broker_losses"] for result in results),
        "queues_left": sum(len(result["queues_left"]) for result in results),
        "tracebacks": sum(result["tracebacks"] for result in results),
        "would_not_stop": sum(len(result["would_not_stop"]) for result in results),
        "did_not_hold": [
            {key: result[key] for key in ("kind", "seed", "state", "reason", "folder")}
            for result in results
            if not result["holds"]
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
