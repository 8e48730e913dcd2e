"""Encrypted sample alignment: private set intersection by Diffie-Hellman on ristretto255, a guest with any hosts.

With H the hash to the group, g and h the guest's and a host's secret exponents:

    1. guest -> host   H(id)^g of the guest's ids, shuffled
    2. host -> guest   H(id)^h of the host's ids, shuffled
    3. host -> guest   (H(id)^g)^h, in the guest's order
    4. guest           raises 2 to g, intersects with 3, over all hosts
    5. guest -> host   positions of the common ids in 2, in the order of the aligned rows

Rows are ordered by the doubly blinded value of the first host, which tells nobody anything. The guest uses another
exponent for each host, so that hosts who pool what they saw cannot link the ids that are not common.

Source: Huberman, Franklin, Hogg, "Enhancing privacy and trust in electronic communities", EC 1999, section 4;
Meadows, IEEE S&P 1986. What each role learns: docs/protocols/alignment.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from fedbus.codec import CHUNK_BYTES
from fedbus.crypto.curve import POINT_BYTES
from fedbus.crypto.engine import Engine
from fedbus.errors import JobFailed, ProtocolError
from fedbus.messages import BlindedIds, CommonRows, DoublyBlindedIds
from fedbus.session import Session
from parties.data import MAX_ROWS

_CHUNK_ROWS = CHUNK_BYTES // POINT_BYTES
_POSITION = np.dtype(">u4")


def guest(session: Session, engine: Engine, ids: Sequence[str]) -> np.ndarray:
    """The guest's side; returns the positions of the common rows in `ids`, in aligned order, shape (rows,).

    Raises:
        JobFailed: no id is common to all.
        ProtocolError, InvalidPoint: a host sent what the protocol does not allow.
    """
    with session.phase("align"):
        hashed = engine.hash_to_group(ids, session.job.encode())
        secrets = {}
        for host_name in session.hosts:
            stream = session.random(f"align/{host_name}")
            exponent, order = stream.scalar(), stream.permutation(len(ids))
            secrets[host_name] = exponent, order
            shuffled = _reorder(hashed, order)
            session.send_stream(host_name, _blinded(engine, shuffled, exponent), _chunks(len(ids)))

        mine: dict[str, list[bytes]] = {}
        common = set(range(len(ids)))
        theirs: dict[str, dict[bytes, int]] = {}
        for host_name, (exponent, order) in secrets.items():
            returned = (m.points for m in session.recv_stream(host_name, DoublyBlindedIds))
            doubled = b"".join(_bounded(host_name, returned, len(ids) * POINT_BYTES))
            if len(doubled) != len(ids) * POINT_BYTES:
                raise ProtocolError(f"{host_name} returned another number of ids than it was sent")
            mine[host_name] = _split(_reorder(doubled, np.argsort(order)))
            theirs[host_name] = _positions(engine, session, host_name, exponent)
            common &= {row for row, value in enumerate(mine[host_name]) if value in theirs[host_name]}
        if not common:
            raise JobFailed(f"no id is common to {', '.join(session.spec.parties)}; do their id columns mean the same?")

        first = mine[session.hosts[0]]
        rows = sorted(common, key=first.__getitem__)
        for host_name in session.hosts:
            positions = np.array([theirs[host_name][mine[host_name][row]] for row in rows], dtype=_POSITION)
            session.send_stream(host_name, _common_rows(positions), _chunks(len(rows)))
        return np.array(rows, dtype=np.int64)


def host(session: Session, engine: Engine, ids: Sequence[str]) -> np.ndarray:
    """A host's side; returns the positions of the common rows in `ids`, in aligned order, shape (rows,).

    Raises:
        ProtocolError, InvalidPoint: the guest sent what the protocol does not allow.
    """
    with session.phase("align"):
        stream = session.random("align")
        exponent, order = stream.scalar(), stream.permutation(len(ids))
        hashed = engine.hash_to_group(ids, session.job.encode())
        shuffled = _reorder(hashed, order)
        session.send_stream(session.guest, _blinded(engine, shuffled, exponent), _chunks(len(ids)))

        incoming = list(_ids(session, session.guest))
        doubled = (DoublyBlindedIds(engine.blind(points, exponent)) for points in incoming)
        session.send_stream(session.guest, doubled, len(incoming))

        common = (m.positions for m in session.recv_stream(session.guest, CommonRows))
        blob = b"".join(_bounded(session.guest, common, len(ids) * _POSITION.itemsize))
        if len(blob) % _POSITION.itemsize:
            raise ProtocolError(f"{session.guest} sent a part of a position")
        positions = np.frombuffer(blob, dtype=_POSITION).astype(np.int64)
        if not len(positions) or positions.max() >= len(ids) or len(np.unique(positions)) != len(positions):
            raise ProtocolError(f"{session.guest} sent positions that are no selection of this party's rows")
        return order[positions]


def _blinded(engine: Engine, points: bytes, exponent: bytes) -> Iterator[BlindedIds]:
    for start in range(0, len(points), CHUNK_BYTES):
        yield BlindedIds(engine.blind(points[start : start + CHUNK_BYTES], exponent))


def _positions(engine: Engine, session: Session, host_name: str, exponent: bytes) -> dict[bytes, int]:
    positions: dict[bytes, int] = {}
    for points in _ids(session, host_name):
        for value in _split(engine.blind(points, exponent)):
            if value in positions:
                raise ProtocolError(f"{host_name} sent the same id twice")
            positions[value] = len(positions)
    return positions


def _ids(session: Session, sender: str) -> Iterator[bytes]:
    """A peer's blinded ids, of which there are no more than rows in any table."""
    return _bounded(sender, (m.points for m in session.recv_stream(sender, BlindedIds)), MAX_ROWS * POINT_BYTES)


def _bounded(sender: str, pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The pieces as they come; ProtocolError as soon as they are more than `limit` bytes, or one is empty."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit or not piece:
            raise ProtocolError(f"{sender} sent more in the alignment than there are rows, or pieces without any")
        yield piece


def _common_rows(positions: np.ndarray) -> Iterator[CommonRows]:
    for start in range(0, len(positions), _CHUNK_ROWS):
        yield CommonRows(positions[start : start + _CHUNK_ROWS].tobytes())


def _chunks(rows: int) -> int:
    return -(-rows // _CHUNK_ROWS)


def _split(points: bytes) -> list[bytes]:
    return [points[start : start + POINT_BYTES] for start in range(0, len(points), POINT_BYTES)]


def _reorder(points: bytes, order: np.ndarray) -> bytes:
    rows: np.ndarray = np.frombuffer(points, dtype=np.uint8).reshape(-1, POINT_BYTES)
    ordered: bytes = rows[order].tobytes()
    return ordered
