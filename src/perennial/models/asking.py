"""Ask a model package in a process of its own, confined like a worker: its answers to some rows, or its golden ones.

`python -m perennial.models.asking` reads one `Request` in JSON from its input and writes one `Reply`. It is how a
command looks at a model that it must not load itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from perennial.errors import Corrupt, PerennialError, Refused, UserCodeError
from perennial.models.sandbox import Rules, confine, environment
from perennial.types import JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Reply", "Request", "ask"]

TIMEOUT_S = 600.0
_KINDS: dict[str, type[PerennialError]] = {kind.__name__: kind for kind in (Corrupt, Refused, UserCodeError)}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A checked-out package and rows for it; without rows its golden answers are given again."""

    folder: str
    trusted: bool
    rows: list[dict[str, Any]] | None = None
    native: bool = False
    rules: Rules = Rules()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """`answers` to the rows, `differences` of the golden answers, or the error that came instead."""

    answers: list[dict[str, Any]] = []
    differences: list[str] = []
    error: str | None = None
    what: str = ""
    where: str = ""
    remedy: str = ""


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
    command = [sys.executable, "-m", "perennial.models.asking"]
    try:
        done = subprocess.run(
            command,
            input=msgspec.json.encode(request),
            stdout=subprocess.PIPE,
            env=environment(os.environ),
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserCodeError(f"the model did not answer in {TIMEOUT_S:g} s", where=str(folder)) from error
    if done.returncode != 0 or not done.stdout:
        raise UserCodeError(
            f"the process that loads the model ended with {done.returncode}",
            where=str(folder),
            remedy="what it wrote before its end stands above",
        )
    reply = msgspec.json.decode(done.stdout, type=Reply)
    if reply.error is not None:
        raise _KINDS.get(reply.error, UserCodeError)(reply.what, where=reply.where, remedy=reply.remedy)
    return reply


def main() -> None:
    """Answer one request."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    confine(request.rules)
    out = os.dup(1)
    os.dup2(2, 1)  # what the model prints is no reply
    try:
        reply = _answered(request)
    except PerennialError as error:
        reply = Reply(error=type(error).__name__, what=error.what, where=error.where, remedy=error.remedy)
    except Exception as error:  # noqa: BLE001  # the boundary of the process: what the model raises is the reply
        traceback.print_exc()
        reply = Reply(error="UserCodeError", what=f"the model does not answer: {type(error).__name__}: {error}")
    rest = memoryview(msgspec.json.encode(reply))
    while rest:
        rest = rest[os.write(out, rest) :]


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
    main()
