"""`perennial models explain` without rows: what was recorded of the model as a whole, and nothing that was not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from perennial.api.connect import open
from perennial.models.facts.evaluation import Evaluation
from perennial.models.facts.explanation import Explanation, Importance

from .conftest import Perennial

FOUND = Explanation(
    importance=[
        Importance(features=["education", "exam"], rise=0.25, low=0.2, high=0.3),
        *(Importance(features=[f"noise {i}"], rise=-0.001, low=-0.01, high=0.008) for i in range(13)),
    ],
    method="sampled",
    of="wage",
    unit="value",
    base=9.0,
    mean_abs={"exam": 0.5, "education": 2.0},
    rows=1000,
    error=0.02,
    left_out=["effects: they take longer than the time there is"],
    loss="rmse",
)


@pytest.fixture
def explained(project: Path) -> Explanation:
    """Version 1 with a recorded explanation, version 2 without one."""
    del project  # the current folder
    with open() as ws:
        evaluation = Evaluation(
            task="regression",
            metric="rmse",
            split="by time",
            test={},
            train={},
            baseline={},
            saved_over_baseline={},
            overfits=None,
            explanation=ws.objects.put(msgspec.json.encode(FOUND)),
        )
        package = ws.objects.put(b'{"format":1,"files":{},"kind":"sklearn"}')
        stored = ws.objects.put(msgspec.json.encode(evaluation))
        ws.models.register(name="wages", package=package, origin="loop", evaluation=stored)
        ws.models.register(name="wages", package=package, origin="imported")
    return FOUND


def test_what_drives_the_answers_is_told_with_its_uncertainty(explained: Explanation, perennial: Perennial) -> None:
    said = perennial("models", "explain", "wages@1")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert "the RMSE rises on held-out rows" in lines[0]
    assert lines[1].split() == ["education,", "exam", "+0.25", "[0.2,", "0.3]", "#" * 24]
    assert lines[2].split()[-1] == "0.008]"  # what makes answers no worse has no bar
    assert "  and 2 more (--json)" in lines
    assert (
        "what a column moves the value of wage by, on average over 1,000 rows, by sampling, standard error 0.02"
        in lines
    )
    assert [line.split()[0] for line in lines[-3:]] == ["education", "exam", "left"]  # the largest first
    assert lines[-1] == f"left out: {explained.left_out[0]}"


def test_as_json_it_is_what_was_recorded(explained: Explanation, perennial: Perennial) -> None:
    found = perennial("models", "explain", "wages@1", "--json").json
    assert (found.pop("name"), found.pop("version")) == ("wages", 1)
    assert msgspec.convert(found, Explanation) == explained


@pytest.mark.usefixtures("explained")
def test_what_was_never_recorded_is_not_made_up(perennial: Perennial) -> None:
    said = perennial("models", "explain", "wages@2")
    assert said.code != 0
    assert "nothing was recorded of what drives wages version 2" in said.err
    assert "--rows FILE" in said.err


@pytest.mark.usefixtures("explained")
@pytest.mark.parametrize("words", [("--row", "2"), ("--of", "yes")])
def test_a_row_or_a_class_needs_a_table(words: tuple[str, str], perennial: Perennial) -> None:
    said = perennial("models", "explain", "wages@1", *words)
    assert said.code == 2
    assert "which rows are to be explained?" in said.err
