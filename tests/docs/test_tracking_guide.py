"""The guide to tracking runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import perennial

GUIDE = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_its_code_runs_in_order(tmp_path: Path) -> None:
    script = tmp_path / "guide.py"
    script.write_text("\n".join(BLOCKS))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PERENNIAL_")}
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, "0.5"), done.stderr
    with perennial.open(tmp_path / ".perennial") as ws:
        runs = ws.runs.list(loop="salary")
        assert [run.status for run in runs] == ["finished"] * 4
        first = runs[-1]
        assert first.params == {"depth": "3", "optimizer.lr": "0.1"}
        assert len(ws.runs.history(run_id=first.id, key="loss").at) == 1000
        assert not ws.runs.unsent().spools
