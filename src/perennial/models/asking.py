"""Ask a model package in a process of its own, confined like a worker: its answers to some rows, or its golden ones.

`python -m perennial.models.asking` reads one `Request` in JSON from its input and writes one `Reply`. It is how a
command looks at a model that it must not load itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from perennial.models.apart import answer_one, answered_apart
from perennial.models.sandbox import Rules
from perennial.types import JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Reply", "Request", "ask"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A checked-out package and rows for it; without rows its golden answers are given again."""

    folder: str
    trusted: bool
    rows: list[dict[str, Any]] | None = None
    native: bool = False
    rules: Rules = Rules()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """`answers` to the rows, or `differences` of the golden answers."""

    answers: list[dict[str, Any]] = []
    differences: list[str] = []


def ask(
    folder: Path,
    rows: Sequence[dict[str, JSON]] | None,
    *,
    trusted: bool,
    native: bool = False,
    rules: Rules | None = None,
) -> Reply:
    """Load a package in another process and ask it.

    Args:
        folder: As `package.checkout` made it.
        rows: As requests have them; None asks for the golden answers.
        trusted: Code in it may run there.
        native: The toolkit's own model even where there is a compiled form.
        rules: How that process is confined.

    Raises:
        Refused, Corrupt, UserCodeError: As `Predictor.load`; or the process dies, or takes more than ten minutes.
    """
    request = Request(
        folder=str(folder),
        trusted=trusted,
        rows=None if rows is None else [dict(row) for row in rows],
        native=native,
        rules=rules or Rules(),
    )
    return answered_apart("perennial.models.asking", request, Reply)


def _answered(request: Request) -> Reply:
    from perennial.models.package import Predictor

    predictor = Predictor.load(Path(request.folder), trusted=request.trusted, native=request.native)
    try:
        if request.rows is None:
            return Reply(differences=predictor.check_golden())
        return Reply(answers=predictor.predict(predictor.frame(request.rows)))
    finally:
        predictor.close()


if __name__ == "__main__":
    answer_one(Request, _answered)
