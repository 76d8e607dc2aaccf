"""The page on what is written down: its lines run, its tables name what there is, and its figures are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from perennial.capture.feedback import FeedbackCounts
from perennial.capture.predictions import Found
from perennial.config import Settings
from perennial.serve.feedback import MAX_LABELS
from perennial.serve.feeding import ANSWER_LASTS_US
from perennial.serve.privacy import POLICIES
from perennial.serve.segments import RECENT_BYTES

PAGE = (Path(__file__).parents[2] / "docs" / "serving" / "capture.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[str]:
    """The first cells of the table under a heading, without their marks; those with several names are split."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", part, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_every_field_of_a_prediction_policy_and_state_of_a_label_has_its_line() -> None:
    assert set(rows("What there is of a prediction")) == set(Found.__struct_fields__) - {"endpoint"}
    assert rows("Columns that are kept back") == sorted(POLICIES, key=["keep", "hash", "mask", "drop"].index)
    assert set(rows("Labels")) == set(FeedbackCounts.__struct_fields__)


def test_the_declaration_runs_and_is_what_the_page_says() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    told: dict[str, Any] = {}
    exec(code, told)
    assert told["loop"].declaration().capture == {"email": "mask", "note": "drop", "person": "hash"}


def test_figures_are_those_of_the_code() -> None:
    assert f"`keep_predictions_days` ({Settings().keep_predictions_days} days" in PAGE
    assert f"at most {MAX_LABELS:,} in one request" in PAGE
    assert f"waits for {ANSWER_LASTS_US // 86_400_000_000} days" in PAGE
    assert f"newest {RECENT_BYTES >> 20} MiB" in PAGE
