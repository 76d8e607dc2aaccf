"""The page of requirements shows each of them, in lines that run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from perennial.loop import require

PAGE = (Path(__file__).parents[2] / "docs" / "models" / "requirements.md").read_text()
CODE = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


def test_every_requirement_is_on_the_page_once_at_least() -> None:
    assert {name for name in require.__all__ if name != "METRICS"} == set(re.findall(r"require\.(\w+)\(", CODE))


def test_the_lines_of_the_page_run_as_they_stand(tmp_path: Path) -> None:
    told = "\nfor one in loop.declaration().requirements: print(one.sentence)"
    (tmp_path / "loop.py").write_text(CODE + told)
    done = subprocess.run([sys.executable, "loop.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    sentences = done.stdout.splitlines()
    assert len(sentences) == len(re.findall(r"^loop\.require\(", CODE, re.MULTILINE))
    assert "education by +2 raises the prediction in 95 % of the rows" in sentences
    assert "No wage is below zero" in sentences
