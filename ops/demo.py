"""House prices: a shop with product features and prices, a bank with user features, one linear model.

Starts the coordinator and both parties as processes of their own on RabbitMQ, submits the job to the queue, and
compares the model with the same regression on the pooled data. Without RabbitMQ the same roles run on the in-process
broker.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from fedbus import cli, settings
from fedbus.broker.node import find_server
from fedbus.errors import FedbusError

SAMPLE = Path(__file__).resolve().parent / "data" / "sample"
PARTIES = {"shop": "products", "bank": "users"}

JOB = """\
name = "house-prices"
algorithm = "vertical-linear"

[guest]
party = "shop"
dataset = "products"
test = "products_test"
label = "MEDV"

[[hosts]]
party = "bank"
dataset = "users"
test = "users_test"

[params]
key_bits = 2048
solver = "{solver}"
{course}
"""
# Near the best of heavy ball for these columns, whose correlations have eigenvalues from 0.05 to 6.2.
COURSES = {"sgd": "learning_rate = 0.5\nmomentum = 0.7\ntolerance = 1e-9", "gram": ""}


def write_files(folder: Path, solver: str) -> tuple[Path, list[Path]]:
    """The job file and the party files of the demo, with their data beside them."""
    files = []
    for party, table in PARTIES.items():
        text = f'name = "{party}"\nstate = "state/{party}.db"\n'
        for name in (table, f"{table}_test"):
            shutil.copy(SAMPLE / f"{name}.csv", folder)
            text += f'\n[datasets.{name}]\nsource = "{name}.csv"\nid = "user_id"\n'
        files.append(folder / f"{party}.toml")
        files[-1].write_text(text, "utf-8")
    job = folder / "job.toml"
    job.write_text(JOB.format(solver=solver, course=COURSES[solver]), "utf-8")
    return job, files


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="ops/demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", help="write the report to this file")
    parser.add_argument("--keep", metavar="DIR", help="put job file, party files, data and stores here and keep them")
    parser.add_argument(
        "--solver", choices=sorted(COURSES, reverse=True), default="sgd",
        help="sgd, the white paper's four encrypted steps; or gram, one encrypted pass (default: %(default)s)",
    )  # fmt: skip
    arguments = parser.parse_args()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    broker = "amqp" if settings.broker_url() or find_server() else "memory"
    if broker == "memory":
        console.print(
            "RabbitMQ is not here and FEDBUS_AMQP_URL is not set: the same roles run on the in-process broker.\n"
            "ops/install fetches RabbitMQ for private use on Debian and Ubuntu."
        )
    with tempfile.TemporaryDirectory(prefix="fedbus-demo-") as scratch:
        folder = Path(arguments.keep or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        job, files = write_files(folder, arguments.solver)
        command = ["fedbus", "simulate", str(job), "--broker", broker]
        for file in files:
            command += ["--party", str(file)]
        if arguments.json:
            command += ["--json", arguments.json]
        console.print("$ " + " ".join(command))
        sys.argv = command
        cli.main()


if __name__ == "__main__":
    try:
        main()
    except FedbusError as error:
        sys.exit(f"error: {error}")
