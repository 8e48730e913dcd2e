"""Federated learning between organisations that may not pool their data, over a message queue.

What a script or a notebook needs is here. Each name is imported when it is first used, so that `import fedbus`
is light.

    report = fedbus.simulate("job.toml", ["shop.toml", "bank.toml"])
    report.to_frame().plot(x="round", y="loss")

docs/howto/python.md says more.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedbus.version import __version__

if TYPE_CHECKING:
    from fedbus.algorithms.registry import load as load_job
    from fedbus.cli.notebook import simulate
    from fedbus.client import Client
    from fedbus.messages.control import Progress
    from fedbus.report import Report

__all__ = ["Client", "Progress", "Report", "__version__", "load_job", "simulate"]

_HOMES = {
    "Client": ("fedbus.client", "Client"),
    "Progress": ("fedbus.messages.control", "Progress"),
    "Report": ("fedbus.report", "Report"),
    "load_job": ("fedbus.algorithms.registry", "load"),
    "simulate": ("fedbus.cli.notebook", "simulate"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fedbus' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
