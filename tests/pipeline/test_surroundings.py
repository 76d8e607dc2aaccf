"""Versions of libraries from the installed files, and logs without secrets."""

from __future__ import annotations

import base64
import io
import json
import sys
import urllib.parse
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path

import pytest

from perennial import __version__
from perennial.pipeline.libraries import versions_of
from perennial.pipeline.step_log import Mask, StepLog


def test_versions_are_those_of_the_distributions() -> None:
    wanted = {"polars": "polars", "sklearn": "scikit-learn", "PIL": "pillow", "yaml": "", "numpy.linalg": "numpy"}
    found = versions_of([*wanted, "os.path", "perennial.loop"])
    assert found == {
        "polars": version("polars"),
        "sklearn": version("scikit-learn"),
        "PIL": version("pillow"),
        "yaml": found["yaml"],
        "numpy": version("numpy"),
        "perennial": __version__,
    }


def test_a_new_version_a_namespace_and_loose_source_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, other, loose = tmp_path / "site", tmp_path / "other", tmp_path / "loose"
    for folder, number in ((site, "1.0"), (other, "1.1")):
        (folder / "thing").mkdir(parents=True)
        (folder / "thing" / "__init__.py").touch()
        (folder / f"some_thing-{number}.dist-info").mkdir()
        (folder / f"some_thing-{number}.dist-info" / "RECORD").write_text("x.py,,\nthing/__init__.py,,\n")
    for part in "ab":
        (site / "space" / part).mkdir(parents=True)
        (site / "space" / part / "__init__.py").touch()
        (site / f"space_{part}-2{part}.dist-info").mkdir()
        (site / f"space_{part}-2{part}.dist-info" / "RECORD").write_text(f"space/{part}/__init__.py,,\n")
    (loose / "mine").mkdir(parents=True)
    (loose / "mine" / "__init__.py").write_text("a = 1")
    monkeypatch.setattr(sys, "path", [str(site), str(loose)])
    found = versions_of(["thing.x", "space.a", "mine", "nowhere"])
    assert found["thing"] == "1.0"
    assert (found["space_a"], found["space_b"]) == ("2a", "2b")
    assert found["nowhere"] == "absent"
    monkeypatch.setattr(sys, "path", [str(other), str(loose)])
    assert versions_of(["thing"]) == {"thing": "1.1"}
    (loose / "mine" / "__init__.py").write_text("a = 2")
    monkeypatch.setattr(sys, "path", [str(loose)])
    assert versions_of(["mine"])["mine"] != found["mine"]


SECRET = 'pa"ss word/ü&+'


@pytest.mark.parametrize("shift", range(4))
def test_C19_secrets_are_masked_in_the_forms_in_which_they_are_printed(shift: int) -> None:
    mask = Mask([SECRET, "", "line one of it\nline two of it"])
    encoded = base64.b64encode(b"u" * shift + SECRET.encode() + b"@host").decode()
    for form in (
        SECRET,
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        json.dumps({"key": SECRET}),
        repr(SECRET),
        encoded,
        "only line two of it",
    ):
        assert "***" in mask(f"<{form}>"), form
    assert encoded[6:12] not in mask(encoded)
    assert mask("nothing here") == "nothing here"


def test_text_is_shown_as_it_comes_and_a_secret_in_two_pieces_is_masked() -> None:
    terminal = io.StringIO()
    with redirect_stdout(terminal), StepLog(Mask(["hush"])) as log:
        print("hu", end="")
        print("sh", end="\r")
        assert terminal.getvalue() == "***\r"
        print("no newline at the end hush", end="")
    assert terminal.getvalue() == "***\rno newline at the end ***\n"
    assert log.data() == b"***\rno newline at the end ***\n"


def test_a_long_log_keeps_its_first_and_last_lines() -> None:
    with redirect_stdout(io.StringIO()), StepLog(Mask([]), max_lines=4) as log:
        for number in range(10):
            print(number)
    assert log.data() == b"0\n1\n... 6 lines left out ...\n8\n9\n"
