"""Ask and explain a package in a process of its own: its answers to some rows, and what drove them.

`python -m perennial.evaluate.explain.apart` reads one `Request` in JSON from its input and writes one `Reply`. The
model is the toolkit's own, asked as at registration: what it says here is what the pipeline that trained it would say.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from perennial.evaluate.explain.asked import asked, classes_of
from perennial.evaluate.explain.attribution import attributor
from perennial.models.apart import answer_one, answered_apart
from perennial.models.package import Predictor
from perennial.models.sandbox import Rules
from perennial.types import JSON

__all__ = ["Reply", "Request", "asked_apart"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A checked-out package, rows as requests have them, and how many of them are explained, of which class."""

    folder: str
    trusted: bool
    rows: list[dict[str, Any]]
    explained: int = 0
    of: str | None = None
    rules: Rules = Rules()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says.

    Attributes:
        answers: To the rows.
        differences: From its golden answers, a sentence each.
        columns: That attributions are of.
        attributions: A row for each that is explained.
        method: How they were computed.
    """

    answers: list[dict[str, Any]] = []
    differences: list[str] = []
    columns: list[str] = []
    attributions: list[list[float]] = []
    method: str = ""


def asked_apart(
    folder: Path,
    rows: Sequence[dict[str, JSON]],
    *,
    trusted: bool,
    explained: int = 0,
    of: str | None = None,
    rules: Rules | None = None,
) -> Reply:
    """Load a package's own model in another process, ask it, and explain the first rows.

    Args:
        folder: As `package.checkout` made it.
        rows: As requests have them.
        trusted: Code in it may run there.
        explained: How many of the rows are explained.
        of: The class whose number is explained, as text; of a regression it does not matter.
        rules: How that process is confined.

    Raises:
        Refused, Corrupt, UserCodeError: It does not load or answer; or its process dies, or takes over ten minutes.
    """
    request = Request(
        folder=str(folder),
        trusted=trusted,
        rows=[dict(row) for row in rows],
        explained=explained,
        of=of,
        rules=rules or Rules(),
    )
    return answered_apart("perennial.evaluate.explain.apart", request, Reply)


def _answered(request: Request) -> Reply:
    predictor = Predictor.load(Path(request.folder), trusted=request.trusted, native=True)
    try:
        frame = predictor.frame(request.rows)
        reply = Reply(answers=predictor.predict(frame), differences=predictor.check_golden())
        return _explained(predictor, frame.head(request.explained), request.of, reply)
    finally:
        predictor.close()


def _explained(predictor: Predictor, frame: pl.DataFrame, of: str | None, reply: Reply) -> Reply:
    label = next((one for one in classes_of(predictor) if str(one) == of), None)
    if not frame.height or (label is None and classes_of(predictor)):
        return reply
    x = predictor.preparation.columns(frame)
    background = predictor.preparation.columns(predictor.background_frame())
    found = attributor(predictor, x, background).explain(x, asked(predictor, of=label))
    return msgspec.structs.replace(
        reply, columns=found.columns, attributions=found.values.tolist(), method=found.method
    )


if __name__ == "__main__":
    answer_one(Request, _answered)
