"""A guest and any number of hosts find the rows that all have, by private set intersection by Diffie-Hellman.

With H the hash to the group, g and h the guest's and a host's secret exponents:

    0. guest <-> host  how many ids each has, and the groups in which it computes; both take the fastest in common
    1. guest -> host   H(id)^g of the guest's ids, shuffled
    2. host -> guest   H(id)^h of the host's ids, shuffled
    3. host -> guest   128 bits of each (H(id)^g)^h, in the guest's order
    4. guest           raises 2 to g, intersects with 3, over all hosts
    5. guest -> host   positions of the common ids in 2, in the order of the aligned rows

Rows are ordered by the doubly blinded value of the first host, which tells nobody anything. The guest uses another
exponent for each host, so that hosts who pool what they saw cannot link the ids that are not common.

Source: Huberman, Franklin, Hogg, "Enhancing privacy and trust in electronic communities", EC 1999, section 4;
Meadows, IEEE S&P 1986. What each role learns: docs/explanation/alignment.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fedbus.algorithms.vertical.agreed import MATCH_BYTES, POSITION_BYTES
from fedbus.algorithms.vertical.job import VerticalJob
from fedbus.algorithms.vertical.messages import AlignmentOffer, BlindedIds, CommonRows, DoublyBlindedIds
from fedbus.chunks import CHUNK_BYTES
from fedbus.crypto import curve
from fedbus.crypto.curve import POINT_BYTES
from fedbus.crypto.engine import Engine
from fedbus.errors import JobFailed, ProtocolError
from fedbus.session.session import Session
from parties.data.table import MAX_ROWS
from parties.vertical.matching import cut, match

_CHUNK_ROWS = CHUNK_BYTES // POINT_BYTES
_POSITION = np.dtype(f">u{POSITION_BYTES}")


@dataclass(frozen=True, slots=True)
class _Pair:
    """What two parties agreed on, and this one's secrets.

    Attributes:
        rows: how many ids the peer sends.
        order: in which this party sends its own.
    """

    peer: str
    group: str
    rows: int
    exponent: bytes
    order: np.ndarray


def guest(session: Session[VerticalJob], engine: Engine, ids: Sequence[str]) -> np.ndarray:
    """Play the guest's part. Return the positions of the common rows in `ids`, in aligned order, shape (rows,).

    Raises:
        JobFailed: no id is common to all.
        ProtocolError, InvalidPoint: a host sent what the protocol does not allow.
    """
    with session.phase("align"):
        pairs = _agree(session, session.spec.host_parties, len(ids))
        _send_blinded(session, engine, pairs, ids)

        found = {}
        for pair in pairs:
            raised = engine.blind_each(_ids(session, pair), pair.exponent, pair.group)
            theirs = b"".join(cut(points) for points in raised)
            returned = (m.values for m in session.recv_stream(pair.peer, DoublyBlindedIds))
            mine = b"".join(_exactly(pair.peer, returned, len(ids), MATCH_BYTES))
            shuffled, positions = match(mine, theirs, pair.peer)
            found[pair.peer] = pair.order[shuffled], positions
        rows, where = _common(found, len(ids))
        if not len(rows):
            names = ", ".join(session.spec.parties)
            raise JobFailed(
                f"no id is common to {names}; do their id columns mean the same, and are ids written alike? The log of"
                " each party says in what form its own are"
            )
        for host_name, positions in where.items():
            session.send_stream(host_name, _common_rows(positions), _chunks(len(rows)))
        return rows


def host(session: Session[VerticalJob], engine: Engine, ids: Sequence[str]) -> np.ndarray:
    """Play a host's part. Return the positions of the common rows in `ids`, in aligned order, shape (rows,).

    Raises:
        ProtocolError, InvalidPoint: the guest sent what the protocol does not allow.
    """
    guest_party = session.spec.guest_party
    with session.phase("align"):
        (pair,) = _agree(session, [guest_party], len(ids))
        _send_blinded(session, engine, [pair], ids)

        raised = engine.blind_each(_ids(session, pair), pair.exponent, pair.group)
        doubled = (DoublyBlindedIds(cut(points)) for points in raised)
        session.send_stream(guest_party, doubled, _chunks(pair.rows))

        common = (m.positions for m in session.recv_stream(guest_party, CommonRows))
        blob = b"".join(_bounded(guest_party, common, min(len(ids), pair.rows) * _POSITION.itemsize))
        if len(blob) % _POSITION.itemsize:
            raise ProtocolError(f"{guest_party} sent a part of a position")
        positions = np.frombuffer(blob, dtype=_POSITION).astype(np.int64)
        if not len(positions) or positions.max() >= len(ids) or len(np.unique(positions)) != len(positions):
            raise ProtocolError(f"{guest_party} sent positions that are no selection of this party's rows")
        return pair.order[positions]


def _agree(session: Session[VerticalJob], peers: Sequence[str], rows: int) -> list[_Pair]:
    """Step 0 with each peer; another pair may take another group."""
    for peer in peers:
        session.send(peer, AlignmentOffer(curve.groups(), rows))
    pairs = []
    for peer in peers:
        offer = session.recv(peer, AlignmentOffer)
        group = curve.agree(curve.groups(), offer.groups)
        if group is None:
            raise ProtocolError(f"{peer} computes in no group that this version of fedbus knows")
        if not 0 < offer.rows <= MAX_ROWS:
            raise ProtocolError(f"{peer} says that it has {offer.rows} rows")
        stream = session.random(f"align/{group}/{peer}")
        exponent, order = stream.scalar(group), stream.permutation(rows)
        pairs.append(_Pair(peer, group, offer.rows, exponent, order))
    return pairs


def _send_blinded(session: Session[VerticalJob], engine: Engine, pairs: Sequence[_Pair], ids: Sequence[str]) -> None:
    """Steps 1 and 2, this party's part."""
    groups = dict.fromkeys(pair.group for pair in pairs)
    hashed = {group: engine.hash_to_group(ids, session.job.encode(), group) for group in groups}
    for pair in pairs:
        rows: np.ndarray = np.frombuffer(hashed[pair.group], dtype=np.uint8).reshape(-1, POINT_BYTES)
        parts = np.split(pair.order, range(_CHUNK_ROWS, len(ids), _CHUNK_ROWS))
        shuffled = (rows[part].tobytes() for part in parts)
        blinded = engine.blind_each(shuffled, pair.exponent, pair.group)
        session.send_stream(pair.peer, (BlindedIds(pair.group, points) for points in blinded), len(parts))


def _ids(session: Session[VerticalJob], pair: _Pair) -> Iterator[bytes]:
    """A peer's blinded ids, as many as it said."""

    def points() -> Iterator[bytes]:
        for message in session.recv_stream(pair.peer, BlindedIds):
            if message.group != pair.group:
                raise ProtocolError(
                    f"{pair.peer} blinds ids in {message.group}, this party in {pair.group}: one of them was started "
                    "again with another OpenSSL; submit the job again"
                )
            yield message.points

    return _exactly(pair.peer, points(), pair.rows, POINT_BYTES)


def _exactly(sender: str, pieces: Iterable[bytes], rows: int, width: int) -> Iterator[bytes]:
    """The pieces as they come; ProtocolError where they are not cut as agreed, or are too few."""
    left = rows
    for piece in _bounded(sender, pieces, rows * width):
        if len(piece) != min(left, _CHUNK_ROWS) * width:
            raise ProtocolError(f"{sender} sent a piece of the alignment of another length than agreed")
        left -= len(piece) // width
        yield piece
    if left:
        raise ProtocolError(f"{sender} sent another number of ids in the alignment than it said")


def _bounded(sender: str, pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The pieces as they come; ProtocolError as soon as they are more than `limit` bytes, or one is empty."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit or not piece:
            raise ProtocolError(f"{sender} sent more in the alignment than there are rows, or pieces without any")
        yield piece


def _common(found: dict[str, tuple[np.ndarray, np.ndarray]], rows: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The rows that all hosts have, in the order of the first host's values, and where each host has them.

    Args:
        found: of each host, this party's rows that it has and where it has them, in order of their values.
        rows: how many this party has.
    """
    (_, (common, _)), *_ = found.items()
    tables = {}
    for host_name, (own, positions) in found.items():
        tables[host_name] = np.full(rows, -1, dtype=np.int64)
        tables[host_name][own] = positions
        common = common[tables[host_name][common] >= 0]
    return common, {host_name: table[common] for host_name, table in tables.items()}


def _common_rows(positions: np.ndarray) -> Iterator[CommonRows]:
    for start in range(0, len(positions), _CHUNK_ROWS):
        yield CommonRows(positions[start : start + _CHUNK_ROWS].astype(_POSITION).tobytes())


def _chunks(rows: int) -> int:
    return -(-rows // _CHUNK_ROWS)
