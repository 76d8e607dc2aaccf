"""The page about what watches a live version names every monitor, and its loop is one."""

from __future__ import annotations

import re
from pathlib import Path

from perennial.loop.watched import MONITORS

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring" / "watching.md").read_text()


def test_every_monitor_has_its_line() -> None:
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`([a-z_]+)`", "".join(line.split("|")[1] for line in table.splitlines()))) == set(MONITORS)


def test_the_loop_on_the_page_declares_what_it_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "watching.md", "exec"), names)
    declared = names["loop"].declaration()  # type: ignore[attr-defined]
    assert (declared.monitor.days, declared.monitor.slices, declared.monitor.off) == (60.0, ("region",), ("traffic",))
