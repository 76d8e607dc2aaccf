"""What the page on incidents says of settings, commands, limits and metrics is so."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import get_args

from perennial.cli.main import parser_of
from perennial.config import Settings
from perennial.monitor.incidents.delivery import pause_s
from perennial.monitor.incidents.exposition import MAX_COLUMNS
from perennial.monitor.incidents.incident import Group
from perennial.monitor.incidents.outbox import MAX_ATTEMPTS

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring" / "incidents.md").read_text(encoding="utf-8")


def test_every_setting_that_it_names_is_one_and_none_of_them_is_left_out() -> None:
    known = {item.name for item in fields(Settings)}
    named = {name.lower() for name in re.findall(r"PERENNIAL_(\w+)", PAGE)}
    named |= {name for name in re.findall(r"`([a-z_]+)`", PAGE) if "_" in name}
    assert named <= known
    of_notices = [name for name in known if re.match(r"incident_|notify_|smtp_|webhook_|slack_|outbound_", name)]
    assert set(of_notices) <= named


def test_every_command_on_it_is_understood() -> None:
    commands = [line.split("   ")[0] for line in PAGE.splitlines() if line.startswith("perennial ")]
    assert len(commands) == 9
    for command in commands:
        _, noun, *words = shlex.split(command)
        assert parser_of(noun, words).parse_args(words).run is not None


def test_its_numbers_are_those_of_the_program() -> None:
    assert f"`incident_quiet_days` ({Settings().incident_quiet_days:g})" in PAGE
    assert f"after {MAX_ATTEMPTS} attempts, about eight hours" in PAGE
    assert round(sum(pause_s(number) for number in range(1, MAX_ATTEMPTS)) / 3600) == 8
    assert f"`smtp_port` ({Settings().smtp_port})" in PAGE
    assert f"the {MAX_COLUMNS} largest" in PAGE
    assert all(group in PAGE for group in get_args(Group))
