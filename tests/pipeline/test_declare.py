"""Declaring a loop: imported once from its bundle, and every mistake named with the user's line."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from perennial.errors import LoopError

GOOD = """
    from perennial import Loop
    import marks
    marks.imported.append(1)
    loop = Loop("x", target="y")
    @loop.collect
    def rows(): ...
    @loop.train
    def model(X, y): ...
"""
LOOP = "from perennial import Loop\nloop = Loop('a')\n"


def test_an_unchanged_loop_is_not_imported_again(project: Any) -> None:
    project.write({"loop.py": GOOD, "marks.py": "imported = []\nwith open('marks.txt', 'a') as f: f.write('m')\n"})
    first = project.declare()
    assert project.declare() == first
    assert (project.folder / "marks.txt").read_text() == "m"
    project.write({"loop.py": GOOD + "    # changed\n"})
    assert project.declare().name == first.name
    assert (project.folder / "marks.txt").read_text() == "mm"


def test_a_remembered_declaration_that_is_damaged_is_made_again(project: Any) -> None:
    project.write({"loop.py": GOOD, "marks.py": "imported = []\n"})
    first = project.declare()
    (remembered,) = (project.folder / ".perennial" / "bundles").glob("*.json")
    whole = remembered.read_bytes()
    for damage in (b"", b"{}", whole[:-20], whole.replace(b'"perennial":"', b'"perennial":"9')):
        remembered.write_bytes(damage)
        assert project.declare() == first


@pytest.mark.parametrize(
    "source, what, where",
    [
        ("a = 1\nb = a.c\n", "loop.py does not import: AttributeError: 'int' object has no attribute 'c'", "loop.py:2"),
        ("import inner\n", "loop.py does not import: ZeroDivisionError", "inner.py:2"),
        ("import sys\nsys.exit(3)\n", "loop.py does not import: SystemExit: 3", "loop.py:2"),
        ("x = Loop('a')\n", "NameError: name 'Loop' is not defined", "loop.py:1"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError", "loop.py:1"),
        ("a = 1\n", "loop.py declares no loop", "loop.py:1"),
        ("from perennial import Loop\na = Loop('a')\nb = Loop('b')\n", "declares several loops: a and b", "loop.py:1"),
        (LOOP + "import json\nloop.step(json.dumps)\n", "is not in the project", None),
        (LOOP + "@loop.step\ndef f(): ...\nf = 1\n", "'f' stands for something else", "loop.py:3"),
        (LOOP + "from perennial import rollout\nloop.rollout(rollout.canary(2))\n", "share cannot be 2", "loop.py:4"),
    ],
)
def test_what_is_wrong_with_a_loop_file_is_told_with_its_line(project: Any, source: str, what: str, where: str) -> None:
    project.write({"loop.py": source, "inner.py": "x = 1\n1 / 0\n"})
    before = set(sys.modules)
    with pytest.raises(LoopError) as caught:
        project.declare()
    assert what in caught.value.what
    assert caught.value.remedy
    if where:
        assert caught.value.where == where
    assert {"loop", "inner"}.isdisjoint(set(sys.modules) - before)


def test_a_step_may_stand_in_another_module(project: Any) -> None:
    project.write(
        {
            "loop.py": "from the_loop import loop\nimport steps\n",
            "the_loop.py": "from perennial import Loop\nloop = Loop('x')\n",
            "steps.py": "import pandas as pd\nfrom the_loop import loop as it\n"
            "@it.collect\ndef rows(): return pd.DataFrame({'x': [1]})\n"
            "@it.train\ndef model(X): return 1\n",
        }
    )
    step = project.declare().step("rows")
    assert (step.file, step.variable) == ("steps.py", "it")
    assert project.run().collected["rows"].x.tolist() == [1]


def test_what_a_no_op_needs_is_known_without_the_users_libraries(project: Any) -> None:
    project.write({"loop.py": "import sklearn\n" + GOOD.replace("\n    ", "\n"), "marks.py": "imported = []\n"})
    project.declare()
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {os.path.dirname(__file__)!r})
from conftest import Project
from perennial.store.objects import ObjectStore
project = Project(Path({str(project.folder)!r}), ObjectStore(Path({str(project.objects.folder)!r})))
with project.execution() as execution:
    execution.fingerprint("model", {{}})
heavy = {{"sklearn", "numpy", "polars", "pandas", "pyarrow", "scipy", "sqlalchemy"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True)
