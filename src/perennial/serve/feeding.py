"""A person's answer to a prediction that a guard left to people, as the owner hands it to the prediction service.

The owner alone writes these files, each at once and whole, and removes them after their time; the service only reads.
A caller asks for the answer by the id of the prediction, as often as it likes.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from perennial.models.flavors.flavor import Label
from perennial.store.decoding import ready

__all__ = ["ANSWERS", "ANSWER_LASTS_US", "PersonsAnswer", "answer_path", "read_answer"]

ANSWERS = "answers"  # the folder beside the serving spec
ANSWER_LASTS_US = 30 * 86_400_000_000  # how long an answer can be asked for, and a question waits for one
_ID = re.compile(r"[0-9a-f]{26}")


class PersonsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says; `by` is who, `at` when, in microseconds."""

    id: str
    endpoint: str
    value: Label
    at: int
    by: str
    comment: str = ""


_decode = msgspec.json.Decoder(ready(PersonsAnswer)).decode


def answer_path(serving: Path, prediction_id: str) -> Path | None:
    """Where the answer to this prediction lies when there is one; None for what is no id of a prediction."""
    return serving / ANSWERS / f"{prediction_id}.json" if _ID.fullmatch(prediction_id) else None


def read_answer(serving: Path, prediction_id: str) -> PersonsAnswer | None:
    """The person's answer; None while there is none, and after its time.

    `serving` is the folder of the serving spec.
    """
    path = answer_path(serving, prediction_id)
    if path is None:
        return None
    try:
        return _decode(path.read_bytes())
    except FileNotFoundError:
        return None
