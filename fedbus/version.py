"""The program's version: in a module of its own, so that whoever needs it does not import all of `fedbus`."""

from __future__ import annotations

__version__ = "0.2.0"
