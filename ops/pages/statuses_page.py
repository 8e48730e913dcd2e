"""The page of exit statuses, with the errors that come to each."""

from __future__ import annotations

from docstrings import about
from fedbus import errors
from fedbus.statuses import Status
from text import code, item, page, paragraph, sentence

_ABOUT = (
    "Every command of fedbus ends with one of these statuses, so that a script can tell what was wrong from what was"
    " asked for and is not there. Every error is a line `error: ...` on standard error, which names the file, the"
    " setting and the remedy. Under each status are the errors of `fedbus.errors` that come to it, for who uses the"
    " package from Python."
)


def render() -> str:
    """The page."""
    return page("Exit statuses", paragraph(_ABOUT), "\n".join(map(_status, Status)))


def _status(status: Status) -> str:
    lines = [item(f"**{status.value}**: {sentence(status.meaning)}")]
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.FedbusError) and kind.exit_status is status:
            lines.append(item(f"{code(kind.__name__)}: {sentence(about(kind))}", depth=1))
    return "\n".join(lines)
