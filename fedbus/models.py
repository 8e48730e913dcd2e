"""A model in a party's store: a map that says what it is, beside its numbers, and how it is read.

    model = models.read(Path("state/bob.db"), "house-prices-...")
    model.fields["columns"], model.fields["mean"], model.fields["last"]

It is read while the party runs, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from fedbus import codec
from fedbus.errors import NotFound, StoreError
from fedbus.job import JobSpec
from fedbus.store.reader import Reader
from fedbus.version import __version__
from fedbus.weights import Weights

# Of the map. Fields may be added to a format; one that loses a field or gives it another meaning is the next.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class StoredModel:
    """What a party has kept of a job.

    Attributes:
        fields: of every model `format`, `program` (the version that wrote it), `job`, `name`, `algorithm`, `party`,
            `role`, `parties`, `params` as the job gave them, `loss`, and `label`: its `name`, and the `mean` and
            `scale` with which outputs (times `scale`, plus `mean`) are in the label's own unit. The rest is the
            algorithm's: `columns` with `mean` and `scale`, `recoding` (how they came of the table's), and `weights`
            and `intercept`, or `network` and the `last` and `best` models as the bytes of safetensors files.
        created_at: seconds since 1970.
    """

    fields: dict[str, Any]
    created_at: float

    def describe(self) -> dict[str, Any]:
        """Return all of the model but long numbers, for JSON: of a network's tensors the shapes."""
        created = datetime.fromtimestamp(self.created_at, UTC).isoformat(timespec="seconds")
        return {**{name: _shown(value) for name, value in self.fields.items()}, "created_at": created}

    def weights(self, name: str = "last") -> Weights:
        """A network's tensors; raises StoreError where this is no model of that name."""
        blob = self.fields.get(name)
        if not isinstance(blob, bytes):
            raise StoreError(f"the model of job {self.fields['job']} has no tensors {name!r}")
        return Weights.parse(bytearray(blob))


def pack(spec: JobSpec, job: str, party: str, parts: Mapping[str, Any]) -> bytes:
    """A model for the store: what the job says of it, and what the algorithm adds or says better."""
    model: dict[str, Any] = {
        "format": FORMAT,
        "program": __version__,
        "job": job,
        "name": spec.name,
        "algorithm": spec.algorithm,
        "party": party,
        "role": spec.role(party),
        "parties": list(spec.parties),
        "params": spec.to_map().get("params", {}),
    }
    facts = spec.model_facts
    return codec.pack({**model, **facts, "label": _label(facts["label"]), **parts})


def read(store: Path, job: str) -> StoredModel:
    """The model of a job in a party's store, whether the party runs or not.

    Raises:
        StoreError: the store cannot be read.
        NotFound: it has no model of this job.
    """
    with Reader(store) as reader:
        found = reader.model(job)
        if found is None:
            known = reader.models()
            near = get_close_matches(job, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {len(known)}: see `fedbus model {store}`"
            raise NotFound(f"{store}: no model of job {job}{hint}")
    return unpack(*found, where=f"{store}: the model of job {job}")


def listed(store: Path) -> list[StoredModel]:
    """All models of a store, oldest first; raises StoreError."""
    with Reader(store) as reader:
        ids = reader.models()
    return [read(store, job) for job in ids]


def unpack(share: bytes, created_at: float, *, where: str) -> StoredModel:
    """A model from its bytes in a store; raises StoreError where another version wrote them."""
    try:
        fields = codec.unpack(share)
    except ValueError as error:
        raise StoreError(f"{where} cannot be read: {error}") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise StoreError(f"{where} is of another format than {FORMAT}, which this version of fedbus reads")
    return StoredModel(fields, created_at)


def _label(name: str) -> dict[str, Any]:
    return {"name": name, "mean": 0.0, "scale": 1.0}


def _shown(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bytes):
        return {
            "bytes": len(value),
            "tensors": {name: list(shape) for name, shape in Weights.parse(value).shapes.items()},
        }
    return value
