"""House prices, trained by parties that keep their data: coordinator and parties as processes of their own on RabbitMQ.

  ops/demo           one linear model of a shop, with product features and prices, and a bank, with user features,
                     compared with the same regression on the pooled data
  ops/demo fedavg    one network of bob and alice, who have other rows of the same columns, compared with the same
                     network trained on the pooled rows, and with federated averaging in one process

Without RabbitMQ the same roles run on the in-process broker.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from fedbus import cli, environment, terminal
from fedbus.broker.node.node import find_server
from fedbus.errors import FedbusError
from fedbus.service import process

DATA = Path(__file__).resolve().parent / "data"

LINEAR = """\
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

FEDAVG = """\
name = "house-prices"
algorithm = "fedavg"
label = "MEDV"

[[parties]]
party = "bob"
dataset = "tracts"
test = "tracts_test"

[[parties]]
party = "alice"
dataset = "tracts"
test = "tracts_test"

[model]
layers = [
    {{ linear = 32 }}, {{ activation = "relu" }},
    {{ linear = 24 }}, {{ activation = "relu" }},
    {{ linear = 16 }}, {{ activation = "relu" }},
    {{ linear = 1 }},
]

[data]
as_is = ["CHAS"]

[params]
rounds = {rounds}
batch_size = 8
learning_rate = 0.03
seed = {seed}
"""
# OpenMined's notebook on the same data and network, with one batch a round and no average sent back.
NOTEBOOK_MSE = 40.09


def write_linear(folder: Path, solver: str) -> tuple[Path, list[Path]]:
    """The job file and the party files of the linear demo, with their data beside them."""
    files = []
    for party, table in {"shop": "products", "bank": "users"}.items():
        files.append(write_party(folder, party, {name: name for name in (table, f"{table}_test")}, "sample", "user_id"))
    job = folder / "job.toml"
    job.write_text(LINEAR.format(solver=solver, course=COURSES[solver]), "utf-8")
    return job, files


def write_fedavg(folder: Path, rounds: int, seed: int) -> tuple[Path, list[Path]]:
    """The same of the demo of federated averaging."""
    files = []
    for party in ("bob", "alice"):
        tables = {"tracts": party, "tracts_test": f"{party}_test"}
        files.append(write_party(folder, party, tables, "sample_rows", "tract"))
    job = folder / "job.toml"
    job.write_text(FEDAVG.format(rounds=rounds, seed=seed), "utf-8")
    return job, files


def write_party(folder: Path, party: str, tables: dict[str, str], source: str, row_id: str) -> Path:
    """A party file, and the tables that it names."""
    text = f'name = "{party}"\nstate = "state/{party}.db"\n'
    for name, table in tables.items():
        shutil.copy(DATA / source / f"{table}.csv", folder)
        text += f'\n[datasets.{name}]\nsource = "{table}.csv"\nid = "{row_id}"\n'
    file = folder / f"{party}.toml"
    file.write_text(text, "utf-8")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="ops/demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("which", nargs="?", choices=("linear", "fedavg"), default="linear", help="default: linear")
    parser.add_argument("--json", metavar="FILE", help="write the report to this file")
    parser.add_argument(
        "--keep", metavar="DIR",
        help="for job file, party files, data and the parties' models; a new one in the folder for temporary files "
        "where absent",
    )  # fmt: skip
    parser.add_argument(
        "--solver", choices=sorted(COURSES, reverse=True), default="sgd",
        help="linear: sgd, the white paper's four encrypted steps; or gram, one encrypted pass (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=100, help="fedavg: rounds of training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="fedavg: of the first weights (default: %(default)s)")
    arguments = parser.parse_args()
    broker = "amqp" if environment.broker_url() or find_server() else "memory"
    if broker == "memory":
        terminal.tell(
            "RabbitMQ is not here and FEDBUS_AMQP_URL is not set: the same roles run on the in-process broker."
        )
        terminal.tell("ops/install fetches RabbitMQ for private use on Debian and Ubuntu.")
    folder = Path(arguments.keep or tempfile.mkdtemp(prefix="fedbus-demo-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.which == "fedavg":
        job, files = write_fedavg(folder, arguments.rounds, arguments.seed)
    else:
        job, files = write_linear(folder, arguments.solver)
    command = [*process.script("fedbus"), "simulate", str(job), "--broker", broker]
    for file in files:
        command += ["--party", str(file)]
    if arguments.json:
        command += ["--json", str(Path(arguments.json).absolute()) if arguments.json != "-" else "-"]
    terminal.tell(f"The demo's files are in {folder}, where they stay. This runs:")
    terminal.tell("$ " + shlex.join(command))
    sys.argv = command
    try:
        cli.main()
    except SystemExit as end:
        if arguments.which == "fedavg" and not end.code:
            terminal.tell(
                f"For comparison: the notebook that this network is of ended at a test MSE of {NOTEBOOK_MSE}."
            )
        raise


if __name__ == "__main__":
    try:
        main()
    except (FedbusError, OSError) as error:
        sys.exit(f"error: {error}")
