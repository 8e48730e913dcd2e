"""The lock of a node's folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedbus.broker.node.lock import locked
from fedbus.errors import BrokerError


def test_a_folder_is_one_process_s_until_it_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "trial" / "node"
    with locked(folder):
        with pytest.raises(BrokerError) as caught, locked(folder):
            pytest.fail("two have it")
        assert str(caught.value) == (
            f"{folder}: process {os.getpid()} runs a RabbitMQ node in this folder already; end that process, or name"
            " another folder, and another --port"
        )
    with locked(folder):
        assert (folder / "lock").read_text() == str(os.getpid())


def test_who_has_not_said_its_id_yet_is_found_otherwise(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(BrokerError, match=r"process \(see `fuser lock`\) runs"), locked(tmp_path):
            pytest.fail("two have it")
