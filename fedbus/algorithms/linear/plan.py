"""What `fedbus plan` says of a job before any row is touched: its costs, the room for numbers, and who will
learn what.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fedbus.algorithms.base import Forecast, Sizes
from fedbus.algorithms.linear import costs
from fedbus.algorithms.linear.layout import lay_out
from fedbus.algorithms.linear.report import many_weights
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.algorithms.linear.speed import Speed, measure
from fedbus.algorithms.vertical import batching
from fedbus.crypto import fixedpoint
from fedbus.errors import ConfigError

# Epochs that conjugate gradients take on most data, and gradient descent at least.
EPOCHS = {"gram": 12, "sgd": 50}

_CHUNK_ROWS = 2048
# What no count says, measured with `ops/bench linear`: a job's key, tables of powers and first process; a message that
# is journalled twice and confirmed; its bytes.
_SECONDS_TO_START = 1.5
# Of a message besides its ciphertexts.
_ENVELOPE_BYTES = 330
_SECONDS_PER_MESSAGE = 0.006
_SECONDS_PER_BYTE = 1 / 60e6

_SHARE = "its own share of the model; its own gradients; the loss of each round; how many rows are common"
_PARTY_LEARNS = {"gram": f"{_SHARE}; two sums over all parties a round", "sgd": _SHARE}
_IDS = {"guest": "; which of its ids each host has", "host": "; which of its ids all parties have"}
_COORDINATOR_LEARNS = {
    "gram": "the loss; two sums over all parties a round; how many of each party's columns follow from its others; "
    "sizes. What it decrypts is masked: uniform, or within 2^-40 of independent of the data",
    "sgd": "the loss of each round; sizes. What it decrypts is masked: uniform",
}


def forecast(spec: LinearJob, sizes: Sizes) -> Forecast:
    """See base.Planning."""
    rows, missing = sizes.common, [party for party in spec.parties if party not in sizes.columns]
    if rows is None or missing:
        raise ConfigError(
            "--rows and --columns PARTY=NUMBER for each party are needed, or a party file for each; "
            f"missing: {', '.join(missing) or 'rows'}"
        )
    columns = {party: sizes.columns[party] for party in spec.parties}
    figures = estimate(spec, rows, columns, sizes.rounds, sizes.common_test)
    figures |= {"rows_at_most": bool(sizes.rows), "rounds_assumed": sizes.rounds is None}
    # Where all tables are here, the parties' side has said it already.
    known = len(sizes.rows) == len(spec.parties)
    weights = [] if known else many_weights(spec, rows, spec.trained(sizes.columns))
    return Forecast(figures, [line.removesuffix(".") for line in weights])


def estimate(
    spec: LinearJob, rows: int, columns: Mapping[str, int], rounds: int | None = None, test_rows: int = 0
) -> dict[str, Any]:
    """What a job takes in which so many rows are common.

    Args:
        columns: features of each party.
        rounds: of training; None takes what is usual.
        test_rows: held-out rows.

    Returns:
        For each role multiplications, processor seconds, messages, bytes, and what it learns; seconds of the whole job
        with all roles on this machine; slots or headroom.

    Raises:
        CryptoError: the numbers do not fit the key.
    """
    epoch = batching.count(rows, spec.params.batch_size)
    rounds = min(rounds or EPOCHS[spec.params.solver] * epoch, spec.params.max_epochs * epoch)
    counted = costs.count(spec, rows, columns, test_rows)
    # A probe takes about as many rounds as the solution.
    done = rounds * 2 if costs.usually_probes(spec) else rounds
    totals = {role: counted.total(role, done) for role in counted.once}
    widths = {bits for cost in totals.values() for bits in cost.cells}
    directions = lay_out(spec, rows, spec.trained(columns)).direction_bits if spec.params.solver == "gram" else None
    shapes = {bits: _shape(bits, rows, max(columns.values()), directions) for bits in widths}
    speed = measure(spec.params.key_bits, shapes)
    roles = {role: _role(spec, role, cost, speed, test_rows) for role, cost in totals.items()}
    messages = sum(cost.messages for cost in totals.values())
    size = sum(role["bytes"] for role in roles.values())
    rest = _SECONDS_TO_START + counted.hops * done * _SECONDS_PER_MESSAGE + size * _SECONDS_PER_BYTE
    work = sum(role["processor_seconds"] for role in roles.values())
    return {
        "name": spec.name,
        "algorithm": spec.algorithm,
        "solver": spec.params.solver,
        "rows": rows,
        "test_rows": test_rows,
        "columns": dict(columns),
        "rounds": rounds,
        "roles": roles,
        "messages": messages,
        "bytes": size,
        "seconds_on_this_machine": work / (os.cpu_count() or 1) + rest,
        **_numbers(spec, rows, columns),
    }


def _shape(bits: int, rows: int, columns: int, directions: int | None) -> tuple[int, int]:
    """Rows and columns of a product by matrix entries of so many bits."""
    if bits == costs.WIDE_BITS:
        # Scores and residuals come in chunks.
        return min(rows, _CHUNK_ROWS), 1
    # A round of `gram` multiplies as many ciphertexts as there are columns.
    return (columns, 1) if bits == directions else (rows, columns)


def _role(spec: LinearJob, role: str, cost: costs.Cost, speed: Speed, test_rows: int) -> dict[str, Any]:
    if role == spec.coordinator:
        learns = _COORDINATOR_LEARNS[spec.params.solver]
    else:
        learns = _PARTY_LEARNS[spec.params.solver] + _IDS["guest" if role == spec.guest.party else "host"]
        if test_rows and role == spec.guest.party:
            learns += "; the scores of held-out rows"
    return {
        "multiplications": round(_multiplications(spec, cost)),
        "processor_seconds": speed.seconds(cost),
        "messages": cost.messages,
        "bytes": cost.size + cost.messages * _ENVELOPE_BYTES,
        "learns": learns,
    }


def _multiplications(spec: LinearJob, cost: costs.Cost) -> float:
    """Modular multiplications modulo n^2: a byte of an exponent each for obfuscators, 7 bits of a cell or so each."""
    bits = spec.params.key_bits
    # Two powers, modulo p^2 and q^2, of exponents of half the key's bits; there a multiplication is a quarter of one.
    decryption = 2 * (bits / 2) * 1.25 / 4
    cells = sum(count * max(1, width / 7) for width, count in cost.cells.items())
    return cost.encryptions * (bits / 16 + 2) + cost.decryptions * decryption + cells


def _numbers(spec: LinearJob, rows: int, columns: Mapping[str, int]) -> dict[str, Any]:
    """How numbers lie in plaintexts, and how much room sums have left."""
    if spec.params.solver == "gram":
        trained = spec.trained(columns)
        layout = lay_out(spec, rows, trained)
        taken = max(
            layout.mask_bits + 1, layout.product_bits + layout.direction_bits + max(trained.values()).bit_length()
        )
        return {
            "slot_bits": layout.slots.width,
            "slots": layout.slots.count,
            "fraction_bits": layout.bits,
            "headroom_bits": layout.slots.width - 1 - taken,
        }
    sums = (rows * len(spec.participants), fixedpoint.MAX_BITS, fixedpoint.MAX_BITS, 1 << (spec.params.key_bits - 1))
    fixedpoint.check_range(*sums)
    return {"fraction_bits": spec.params.column_bits, "headroom_bits": fixedpoint.headroom_bits(*sums)}
