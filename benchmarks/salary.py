"""A salary project with data to learn from, and a row to ask about."""

from __future__ import annotations

import json
from pathlib import Path

from processes import PERENNIAL, command

ROW = {
    "person": 1, "date": "1988-01-01", "education": 12, "experience": 9, "hours": 2080, "occupation": "craft",
    "union": True, "married": True, "black": False, "hispanic": False,
}  # fmt: skip


def make_project(folder: Path) -> Path:
    """The template, filled with the first two years of the wage panel."""
    from perennial.demo.world import World

    command([*PERENNIAL, "init", "--template", "salary", str(folder)])
    (folder / "data").mkdir()
    World(0).first_rows().write_parquet(folder / "data" / "first-years.parquet")
    return folder


def run(folder: Path) -> None:
    command([*PERENNIAL, "run"], folder)


def make_live(folder: Path) -> None:
    """Let its newest candidate pass and answer."""
    command([*PERENNIAL, "approve", "salary"], folder)
    command([*PERENNIAL, "deploy", "salary@1", "--now"], folder)


def package_of(folder: Path) -> str:
    """The digest of its first version's package."""
    listed = json.loads(command([*PERENNIAL, "models", "show", "salary@1", "--json"], folder).stdout)
    return listed["package"]
