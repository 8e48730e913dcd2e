"""It is counted how many values a msgpack body holds, and how deep they are, before any of them is made.

A library that decodes a body makes each list as long as its first bytes say, and 4 MiB of empty lists take seconds and
hundreds of megabytes. One pass over the lengths tells beforehand; long texts and blobs are passed over in one step.
Source: the MessagePack specification, section "Formats".
"""

from __future__ import annotations

# A report of 100,000 rounds, which has a figure or two for each, is far below.
MAX_VALUES = 500_000
# Lists and maps, which cost fifty times as much as a number.
MAX_CONTAINERS = 20_000
MAX_DEPTH = 32


def _fixed() -> list[int]:
    """Return the bytes that a value takes where its first byte tells them; 0 where more is to be read."""
    sizes = [1] * 0x80 + [0] * 0x20 + [1 + length for length in range(0x20)] + [0] * 0x20 + [1] * 0x20
    sizes[0xC0] = sizes[0xC2] = sizes[0xC3] = 1
    for first, length in ((0xCA, 4), (0xCB, 8), (0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        sizes[first] = 1 + length
    for first, length in ((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)):
        sizes[first] = 1 + length
    for power in range(5):
        # An extension has its type before its bytes.
        sizes[0xD4 + power] = 2 + 2**power
    return sizes


_FIXED = _fixed()
# Bytes of the length that follows, and bytes between it and what it counts.
_BLOBS = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),
          0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}  # fmt: skip
_LISTS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}


def check(body: bytes, values: int = MAX_VALUES, containers: int = MAX_CONTAINERS, depth: int = MAX_DEPTH) -> None:
    """Check that a body is one msgpack value within these bounds.

    Raises:
        ValueError: it has more values, more lists and maps, or deeper ones, ends early, or is no msgpack.
    """
    fixed, outer = _FIXED, list[int]()
    offset, left = 0, 1
    try:
        while True:
            while not left:
                if not outer:
                    if offset > len(body):
                        raise ValueError("it ends early")
                    return
                left = outer.pop()
            left -= 1
            first = body[offset]
            if size := fixed[first]:
                offset += size
                continue
            if first in _BLOBS:
                width, gap = _BLOBS[first]
                offset += 1 + width
                offset += gap + int.from_bytes(body[offset - width : offset], "big")
                continue
            count, offset = _children(body, offset, first)
            values -= count
            containers -= 1
            if values < 0 or containers < 0:
                raise ValueError("it holds too many values")
            if len(outer) >= depth:
                raise ValueError(f"it is nested more than {depth} deep")
            outer.append(left)
            left = count
    except IndexError:
        raise ValueError("it ends early") from None


def _children(body: bytes, offset: int, first: int) -> tuple[int, int]:
    """How many values a list or map holds, and where they begin."""
    if first < 0x90:
        return 2 * (first & 0x0F), offset + 1
    if first < 0xA0:
        return first & 0x0F, offset + 1
    width = _LISTS.get(first) or _MAPS.get(first)
    if width is None:
        raise ValueError(f"no value begins with byte {first:#x}")
    count = int.from_bytes(body[offset + 1 : offset + 1 + width], "big")
    return count * (2 if first in _MAPS else 1), offset + 1 + width
