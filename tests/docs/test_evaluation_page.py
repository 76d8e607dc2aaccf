"""The page of what is measured names every option of `loop.evaluate`, and its example is a loop as it stands."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from perennial import Loop

DOCS = Path(__file__).parents[2] / "docs" / "models"
PAGE = (DOCS / "evaluation.md").read_text(encoding="utf-8")
OPTIONS = [name for name in inspect.signature(Loop.evaluate).parameters if name != "self"]


def test_every_option_has_its_line_in_the_table() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == OPTIONS


def test_the_example_is_a_loop_with_all_options_but_those_that_exclude_each_other(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "loop.py").write_text(code + "\nprint(loop.declaration().evaluate)", encoding="utf-8")
    done = subprocess.run([sys.executable, "loop.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == (
        "EvaluatePolicy(groups=('ethnicity',), leave_out=('region',), learning_curve=True, time_split=False, "
        "robustness=True, budget_s=300.0, test_uses=40, tolerance=None)\n"
    )
    said = re.findall(r"^    (\w+)=", code[code.index("loop.evaluate(") :], re.MULTILINE)
    assert set(OPTIONS) - set(said) == {"time_split", "tolerance"}


def test_the_pages_lead_to_each_other() -> None:
    assert "requirements.md#how-often-a-test-set-may-be-asked" in PAGE
    other = (DOCS / "requirements.md").read_text(encoding="utf-8")
    assert "\n## How often a test set may be asked\n" in other
    assert "(evaluation.md)" in other
