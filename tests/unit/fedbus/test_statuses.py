"""Exit statuses: the documents have those of the code, and every error and command comes to one of them."""

from __future__ import annotations

import re

import pytest

from fedbus import errors
from fedbus.errors import FedbusError
from fedbus.statuses import Status
from places import ROOT

OPERATIONS = ROOT / "docs" / "operations.md"
ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FedbusError)]


def test_the_table_of_the_documents_is_that_of_the_code() -> None:
    text = OPERATIONS.read_text("utf-8")
    table = text[text.index("| exit status | meaning |") :].split("\n\n")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
    assert [(int(number), meaning) for number, meaning in rows] == [(each.value, each.meaning) for each in Status]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_of_the_table(kind: type[FedbusError]) -> None:
    assert isinstance(kind.exit_status, Status)
    assert kind.exit_status not in (Status.DONE, Status.INTERRUPTED)


def test_every_status_of_the_table_is_somebodys() -> None:
    of_errors = {kind.exit_status for kind in ALL}
    assert of_errors == set(Status) - {Status.DONE, Status.INTERRUPTED}
