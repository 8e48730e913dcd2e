"""Counts what a job costs each role, in operations, messages and bytes, from public sizes before any row is touched.

The counts are those of the pages of the protocols in docs/explanation; a solver that changes there changes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedbus.algorithms.linear.layout import Layout, lay_out
from fedbus.algorithms.linear.spec import LinearJob
from fedbus.algorithms.vertical.agreed import MATCH_BYTES, POSITION_BYTES
from fedbus.algorithms.vertical.batching import batches
from fedbus.chunks import CHUNK_BYTES
from fedbus.crypto.curve import POINT_BYTES

# Bits of the integers that residuals and scores are, and of a standardised column above its fraction.
WIDE_BITS, _COLUMN_RANGE_BITS = 62, 3


@dataclass(slots=True)
class Cost:
    """The costs of one role.

    Attributes:
        encryptions: fresh obfuscators: of what is encrypted, masked or sent on.
        cells: entries of matrices that multiply ciphertexts, by the bits of an entry.
        decryptions, checks, hashes, blindings: of single ciphertexts, ids and points.
        messages, size: what it sends; size in bytes.
    """

    encryptions: int = 0
    cells: dict[int, int] = field(default_factory=dict)
    decryptions: int = 0
    checks: int = 0
    hashes: int = 0
    blindings: int = 0
    messages: int = 0
    size: int = 0

    def multiply(self, bits: int, cells: int) -> None:
        """Count the cells of a product."""
        self.cells[bits] = self.cells.get(bits, 0) + cells


Costs = dict[str, Cost]


@dataclass(frozen=True, slots=True)
class JobCosts:
    """The costs of a job: once, and in each round of training."""

    once: Costs
    each_round: Costs
    hops: int

    def total(self, role: str, rounds: int) -> Cost:
        """Return the costs of a role in a job of so many rounds."""
        once, each = self.once[role], self.each_round[role]
        widths = {*once.cells, *each.cells}
        cells = {bits: once.cells.get(bits, 0) + rounds * each.cells.get(bits, 0) for bits in widths}
        numbers = ("encryptions", "decryptions", "checks", "hashes", "blindings", "messages", "size")
        return Cost(cells=cells, **{name: getattr(once, name) + rounds * getattr(each, name) for name in numbers})


def count(
    spec: LinearJob, rows: int, columns: Mapping[str, int], test_rows: int = 0, *, probe: bool | None = None
) -> JobCosts:
    """Count the costs of a job in which all rows are common.

    Args:
        columns: features of each party, without label and intercept.
        test_rows: held-out rows.
        probe: whether solver `gram` looks for columns of different parties that depend on each other, which takes
            further rounds; None is what is usual for so many parties.
    """
    trained = spec.trained(columns)
    once, each = _empty(spec), _empty(spec)
    _alignment(once, spec, rows)
    if test_rows:
        _alignment(once, spec, test_rows)
        wire = _Wire(spec, once)
        for part in spec.hosts:
            wire.send(part.party, spec.guest.party, test_rows)
        wire.open(spec.guest.party, test_rows)
    if spec.params.solver == "gram":
        layout = lay_out(spec, rows, trained)
        _gram(_Wire(spec, once), _Wire(spec, each), layout)
        _measured(_Wire(spec, once), layout)
        if usually_probes(spec) if probe is None else probe:
            _sums(_Wire(spec, once), 1)
        return JobCosts(once, each, hops=9)
    _sgd(_Wire(spec, once), _Wire(spec, each), rows, trained)
    return JobCosts(once, each, hops=5)


def usually_probes(spec: LinearJob) -> bool:
    """Return whether solver `gram` cannot rule out early that columns of different parties depend on each other."""
    return spec.params.solver == "gram" and len(spec.parties) > 2  # see Conjugate.may_hide


class _Wire:
    """Counts vectors that travel, with what either side does to them."""

    def __init__(self, spec: LinearJob, costs: Costs) -> None:
        self.spec = spec
        self.costs = costs
        self.width = spec.params.key_bits // 4

    def send(self, sender: str, recipient: str, ciphertexts: int, *, fresh: bool = True) -> None:
        """A vector of ciphertexts, obfuscated by its sender unless it goes to a second recipient."""
        chunk = max(1, CHUNK_BYTES // self.width)
        own = self.costs[sender]
        own.encryptions += ciphertexts if fresh else 0
        own.messages += -(-ciphertexts // chunk)
        own.size += ciphertexts * self.width
        self.costs[recipient].checks += ciphertexts

    def open(self, party: str, ciphertexts: int) -> None:
        """A vector that the coordinator opens behind a mask."""
        self.send(party, self.spec.coordinator, ciphertexts)
        coordinator = self.costs[self.spec.coordinator]
        coordinator.decryptions += ciphertexts
        coordinator.messages += 1
        coordinator.size += ciphertexts * self.width // 2


def _empty(spec: LinearJob) -> Costs:
    return {role: Cost() for role in (*spec.parties, spec.coordinator)}


def _alignment(costs: Costs, spec: LinearJob, rows: int) -> None:
    guest, chunks = costs[spec.guest.party], -(-rows * POINT_BYTES // CHUNK_BYTES)
    guest.hashes += rows
    for part in spec.hosts:
        host = costs[part.party]
        host.hashes += rows
        for side in (guest, host):
            side.blindings += 2 * rows
            side.messages += 2 * chunks
        guest.size += rows * (POINT_BYTES + POSITION_BYTES)
        host.size += rows * (POINT_BYTES + MATCH_BYTES)


def _gram(once: _Wire, each: _Wire, layout: Layout) -> None:
    spec, slots, packs = once.spec, layout.slots, layout.slots.packs
    guest, coordinator, parties = spec.guest.party, spec.coordinator, spec.parties
    encrypted: set[str] = set()
    for pair in layout.pairs:
        sender, taker, width = pair.encryptor, pair.multiplier, packs(pair.sent)
        once.send(sender, taker, layout.rows * width, fresh=sender not in encrypted)
        encrypted.add(sender)
        once.costs[taker].multiply(layout.bits + _COLUMN_RANGE_BITS, layout.rows * width * pair.taken)
        once.send(taker, coordinator, width * pair.taken)
        once.costs[coordinator].decryptions += width * pair.taken
        once.send(coordinator, taker, packs(pair.own_sent) * pair.taken)
        once.send(coordinator, taker, packs(pair.own_taken) * pair.sent)
        once.send(taker, sender, packs(pair.own_taken) * pair.own_sent)
        if pair.label_sent:
            # The guest's label: obfuscated with the rest, and kept.
            once.costs[taker].encryptions += packs(pair.own_taken)
        if pair.label_taken:
            once.send(taker, sender, packs(pair.own_sent))
    for party in parties:
        count = slots.packs(layout.columns[party])
        if party != guest:
            once.open(party, count)
        # One product is that of the check at the end.
        once.open(party, count)
        each.open(party, count)
        for other in parties:
            if other != party:
                products = packs(layout.columns[other])
                for wire in (once, each):
                    wire.costs[party].multiply(layout.direction_bits, layout.columns[party] * products)
                    wire.send(party, other, products)
    # Once: a sum for each of two numbers of the pass, and of three of a check.
    _sums(once, 2)
    _sums(once, 3)
    for _ in range(2):
        _sums(each, 1)


def _measured(wire: _Wire, layout: Layout) -> None:
    """The error on the rows, parties/linear/measure.py."""
    slots, encrypted = layout.score_slots.count, set[str]()
    for pair in layout.pairs:
        wire.send(pair.encryptor, pair.multiplier, layout.score_rows, fresh=pair.encryptor not in encrypted)
        encrypted.add(pair.encryptor)
        wire.costs[pair.multiplier].multiply(WIDE_BITS, layout.score_rows * slots)
        wire.send(pair.multiplier, wire.spec.coordinator, slots)
        wire.costs[wire.spec.coordinator].decryptions += slots
    _sums(wire, 1)


def _sgd(once: _Wire, each: _Wire, rows: int, columns: Mapping[str, int]) -> None:
    spec = once.spec
    guest, hosts, bits = spec.guest.party, [part.party for part in spec.hosts], spec.params.column_bits
    spans = batches(rows, spec.params.batch_size)
    for wire, batch, training in ((each, rows // len(spans), True), (once, rows, False)):
        several = len(hosts) > 1
        for number, host in enumerate(hosts):
            wire.send(host, guest, batch)
            if training or several:
                wire.send(guest, host, batch, fresh=number == 0)
            if several:
                wire.costs[host].multiply(WIDE_BITS, batch)
        wire.costs[guest].multiply(WIDE_BITS, batch)
        if training:
            for party in spec.parties:
                wire.costs[party].multiply(bits + _COLUMN_RANGE_BITS, batch * columns[party])
                wire.open(party, columns[party])
        _sums(wire, 1)


def _sums(wire: _Wire, numbers: int) -> None:
    """Sums of so many numbers over all parties that the coordinator learns, in one message."""
    spec = wire.spec
    for part in spec.hosts:
        wire.send(part.party, spec.guest.party, numbers)
    wire.send(spec.guest.party, spec.coordinator, numbers)
    coordinator = wire.costs[spec.coordinator]
    coordinator.decryptions += numbers
    coordinator.messages += len(spec.parties)
