"""A project whose commands run inside this process, which has loaded the toolkit already.

What trains or serves runs in processes of its own, as a user's does: `run` and `up`.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.cli.main import main

from ..endtoend.conftest import Project, Said

APART = {"run"}  # the user's code, in a process of its own; `up` starts its own anyway

# One front instead of one for each processor: who answers is not the point here. What explains a model at registration
# asks it as often as the time allows, so it gets less of it.
SETTINGS = """
[tool.perennial]
fronts = 1
explain_s = 8.0
"""


class Inside(Project):
    """A folder with a `loop.py`, and what its user does there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "pyproject.toml").write_text(SETTINGS)

    def perennial(self, *words: str, **environment: str) -> Said:
        """Run a command here."""
        if words[0] in APART:
            return super().perennial(*words, **environment)
        out, err = io.StringIO(), io.StringIO()
        with _in(self.folder, environment), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(words)
            except SystemExit as end:  # argparse ends the process when the words make no sense
                code = end.code if isinstance(end.code, int) else 1
        return Said(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _in(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """There, as in a process that has just started; and the folder's own modules are forgotten afterwards."""
    places = sys.path.copy()
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.delenv("PERENNIAL_HOME", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        warnings.simplefilter("ignore")  # a user's process prints them, and goes on
        try:
            yield
        finally:
            sys.path[:] = places
            for name, module in list(sys.modules.items()):
                if (getattr(module, "__file__", None) or "").startswith(f"{folder}/"):
                    del sys.modules[name]
