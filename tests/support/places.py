"""Where tests find what is not Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "ops" / "data"
VECTORS = ROOT / "tests" / "vectors"


def vectors(name: str) -> Any:
    """Known answers, from a file that says where each came from."""
    return json.loads((VECTORS / name).read_text())
