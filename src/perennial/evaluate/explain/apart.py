"""Ask and explain a package in a process of its own: its answers to some rows, and what drove them.

`python -m perennial.evaluate.explain.apart` reads one `Request` in JSON from its input and writes one `Reply`. The
model is the toolkit's own, asked as at registration: what it says here is what the pipeline that trained it would say.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from perennial.errors import PerennialError, UserCodeError
from perennial.evaluate.explain.asked import asked, classes_of
from perennial.evaluate.explain.attribution import attributor
from perennial.models.package import Predictor
from perennial.models.sandbox import Rules, confine, environment
from perennial.types import JSON

__all__ = ["Reply", "Request", "asked_apart"]

TIMEOUT_S = 600.0


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
        error: What was raised instead.
    """

    answers: list[dict[str, Any]] = []
    differences: list[str] = []
    columns: list[str] = []
    attributions: list[list[float]] = []
    method: str = ""
    error: str = ""


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
        UserCodeError: It does not load or answer; or the process dies, or takes more than ten minutes.
    """
    request = Request(
        folder=str(folder),
        trusted=trusted,
        rows=[dict(row) for row in rows],
        explained=explained,
        of=of,
        rules=rules or Rules(),
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "perennial.evaluate.explain.apart"],
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
            f"the process that asks the model ended with {done.returncode}",
            where=str(folder),
            remedy="what it wrote before its end stands above",
        )
    reply = msgspec.json.decode(done.stdout, type=Reply)
    if reply.error:
        raise UserCodeError(reply.error, where=str(folder), remedy="the model does not answer outside the service")
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
        reply = Reply(error=error.what)
    except Exception as error:  # noqa: BLE001  # the boundary of the process: what the model raises is the reply
        traceback.print_exc()
        reply = Reply(error=f"{type(error).__name__}: {error}")
    rest = memoryview(msgspec.json.encode(reply))
    while rest:
        rest = rest[os.write(out, rest) :]


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
    main()
