"""A log that is kept in a file for a while leaves the process's own logging as it found it."""

from __future__ import annotations

from pathlib import Path

import structlog

from fedbus.service.process import configure_logging, kept_log


def test_logging_is_afterwards_as_it_was_before(tmp_path: Path) -> None:
    structlog.reset_defaults()
    with kept_log(tmp_path / "log.txt"):
        structlog.get_logger().info("a line")
    assert not structlog.is_configured()
    configure_logging("error")
    before = structlog.get_config()
    try:
        with kept_log(tmp_path / "log.txt"):
            structlog.get_logger().info("another line")
        assert structlog.is_configured()
        assert structlog.get_config() == before
    finally:
        structlog.reset_defaults()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert ["a line" in lines[0], "another line" in lines[1]] == [True, True]
