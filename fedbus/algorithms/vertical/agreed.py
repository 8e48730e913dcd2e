"""What all sides of a vertical job take for granted, so that no message says it."""

from __future__ import annotations

# The first rounds of a session: the coordinator makes the job's key, and the parties align their tables. What an
# algorithm does follows after them.
KEY_ROUND, ALIGNMENT_ROUND = 0, 1
# Bits of a score below the label's unit.
LABEL_BITS = 42
# Of the alignment: of a doubly blinded value so many bytes are compared, in which two of n and m different values are
# alike with a probability of n m / 2^128; and so many say where in a table a row is.
MATCH_BYTES, POSITION_BYTES = 16, 4
