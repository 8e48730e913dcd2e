"""What `fedbus info` says: the versions, the machine, and which arithmetic it gets."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

from fedbus.crypto import tier
from fedbus.version import __version__

_LIBRARIES = ("gmpy2", "numpy", "opacus", "phe", "pika", "rbcl", "safetensors", "torch")


def describe() -> dict[str, str]:
    """Return facts by name, in the order in which they are shown.

    Raises:
        ConfigError: FEDBUS_TIER asks for an arithmetic that there is not.
    """
    name, why = tier.current()
    return {
        "fedbus": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "processors": str(os.cpu_count() or 1),
        "libraries": ", ".join(f"{library} {version(library)}" for library in _LIBRARIES),
        "arithmetic": f"{name}: {why}",
    }
