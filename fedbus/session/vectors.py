"""Encrypted vectors travel between participants in chunks, are checked on arrival, and opened behind a mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fedbus.algorithms.vertical.job import VerticalJob
from fedbus.algorithms.vertical.messages import Opened
from fedbus.chunks import chunk_ranges
from fedbus.crypto.engine import Engine
from fedbus.crypto.masking import unmask
from fedbus.crypto.paillier import PrivateKey, PublicKey
from fedbus.crypto.tensor import CipherTensor
from fedbus.errors import ProtocolError
from fedbus.messages.envelope import T
from fedbus.session.session import Session


class Vectors:
    """A participant's encrypted vectors under one key.

    Args:
        key: the job's public key; ciphertexts of any other are refused.
        score_bits: fraction bits of scores, as agreed with the key.

    Attributes:
        score_bits, loss_bits, gradient_bits: fraction bits of scores and residuals, of sums of their products, and of
            their products with columns; a vector of others is refused.
    """

    def __init__(self, session: Session[VerticalJob], engine: Engine, key: PublicKey, score_bits: int) -> None:
        self.session = session
        self.engine = engine
        self.key = key
        self.score_bits = score_bits
        self.loss_bits = 2 * self.score_bits
        self.gradient_bits = self.score_bits + session.spec.column_bits

    def ranges(self, rows: int) -> list[tuple[int, int]]:
        """Return the chunks of a vector as (start, stop), about CHUNK_BYTES each, the same at every participant."""
        return chunk_ranges(rows, self.key.width)

    def split(self, tensor: CipherTensor) -> Iterator[CipherTensor]:
        """Return the parts of a vector as `ranges` says."""
        return (tensor.part(start, stop) for start, stop in self.ranges(len(tensor)))

    def send(self, to: str | tuple[str, ...], kind: type[T], rows: int, parts: Iterable[CipherTensor]) -> None:
        """Send a vector of `rows` ciphertexts, whose parts are as `ranges` says, each as soon as it is made."""
        self.session.send_stream(to, (kind(part) for part in parts), len(self.ranges(rows)))

    def recv(self, sender: str, kind: type[T], rows: int, scale: int) -> Iterator[CipherTensor]:
        """Return the parts of a vector of `rows` ciphertexts whose plaintexts have `scale` fraction bits.

        Raises:
            ProtocolError: another length or scale.
            WrongKey, InvalidCiphertext: not ciphertexts of the key.
        """
        ranges = self.ranges(rows)
        number = 0
        for number, message in enumerate(self.session.recv_stream(sender, kind), 1):
            start, stop = ranges[min(number, len(ranges)) - 1]
            if number > len(ranges) or len(message.tensor) != stop - start:
                raise ProtocolError(f"{sender} sent a {kind.kind} of another length than agreed")
            if message.tensor.scale != scale:
                raise ProtocolError(
                    f"{sender} sent a {kind.kind} of {message.tensor.scale} fraction bits, where {scale} are agreed"
                )
            self.engine.check(self.key, message.tensor)
            yield message.tensor
        if number != len(ranges):
            raise ProtocolError(f"{sender} sent a {kind.kind} of another length than agreed")

    def recv_all(self, sender: str, kind: type[T], rows: int, scale: int) -> CipherTensor:
        """Return a whole vector of `rows` ciphertexts; raise as `recv`."""
        return CipherTensor.join(self.recv(sender, kind, rows, scale))

    def open(self, kind: type[T], rows: int, parts: Iterable[CipherTensor]) -> list[int]:
        """Have the coordinator decrypt a vector that it may not see: a party's side.

        Every entry is masked by a residue that is uniform over all plaintexts, so what is decrypted is uniform too.

        Returns:
            (rows,) signed plaintext integers.

        Raises:
            ProtocolError: the coordinator returns something else than was asked.
        """
        stream = self.session.random(kind.kind)
        masks: list[int] = []

        def masked() -> Iterator[CipherTensor]:
            for part in parts:
                mask = stream.residues(self.key.n, len(part))
                masks.extend(mask)
                yield self.engine.add_plain_obfuscated(self.key, part, mask)

        self.send(self.session.coordinator, kind, rows, masked())
        residues: list[int] = []
        for message in self.session.recv_stream(self.session.coordinator, Opened):
            residues.extend(_residues(message, self.key.n))
            if len(residues) > rows or not message.residues:
                break
        if len(residues) != rows:
            raise ProtocolError(f"{self.session.coordinator} opened another number of values than it was asked to")
        return unmask(residues, masks, self.key.n)

    def serve(self, party: str, kind: type[T], private: PrivateKey, rows: int, scale: int) -> None:
        """Decrypt what a party masked and return it: the coordinator's side of `open`.

        Neither more nor fewer than `rows` values are opened: each is a number about the other parties' data.

        Raises:
            ProtocolError, WrongKey, InvalidCiphertext: as `recv`.
        """
        width = _residue_width(self.key.n)

        def opened() -> Iterator[Opened]:
            for part in self.recv(party, kind, rows, scale):
                values = self.engine.decrypt_residues(private, part)
                yield Opened(width, b"".join(int(value).to_bytes(width, "big") for value in values))

        self.session.send_stream(party, opened(), len(self.ranges(rows)))


def _residue_width(modulus: int) -> int:
    return (modulus.bit_length() + 7) // 8


def _residues(message: Opened, modulus: int) -> Iterator[int]:
    width = message.width
    if width != _residue_width(modulus) or len(message.residues) % width:
        raise ProtocolError("opened values of another width than the key's")
    for start in range(0, len(message.residues), width):
        value = int.from_bytes(message.residues[start : start + width], "big")
        if value >= modulus:
            raise ProtocolError("an opened value is not below the modulus")
        yield value
