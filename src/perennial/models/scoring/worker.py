"""A process that answers a table piece by piece: the only place where user code runs when a table is scored.

`python -m perennial.models.scoring.worker` reads one `Duty` in JSON, a line, and writes a `Hello`; then it takes an
Arrow stream of the model's input columns, one batch at a time, and answers each by one batch: the columns that it named
in its `Hello`. It is confined like a worker of the service, and what the model prints goes to standard error.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from perennial.errors import PerennialError
from perennial.models.sandbox import Rules, confine
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from perennial.models.scoring.answering import Answering

__all__ = ["Duty", "Hello"]


class Duty(msgspec.Struct, frozen=True, kw_only=True):
    """A checked-out package, whether code in it may run, and how the process is confined. `native`: not compiled."""

    folder: str
    trusted: bool
    native: bool = False
    rules: Rules = Rules()


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """It is ready, or says why it will never be.

    `form`: "compiled" or "native". `columns`: name and type of each column of its answers.
    """

    form: str = ""
    columns: list[tuple[str, str]] = []
    error: str | None = None
    what: str = ""
    where: str = ""
    remedy: str = ""


def main() -> None:
    """Answer until the input ends."""
    given = sys.stdin.buffer
    duty = msgspec.json.decode(given.readline(), type=ready(Duty))
    confine(duty.rules)
    out = _Pipe(os.dup(1))
    os.dup2(2, 1)
    answering, hello = _loaded(duty)
    out.write(msgspec.json.encode(hello) + b"\n")
    if answering is not None:
        try:
            _answer(answering, given, out)
        finally:
            answering.predictor.close()


class _Pipe:
    """A descriptor as Arrow wants a file of Python's: what is written is with the reader at once."""

    closed = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = 0

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        self._size += rest.nbytes
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return memoryview(data).nbytes

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The process ends soon."""


def _loaded(duty: Duty) -> tuple[Answering | None, Hello]:
    from perennial.models.package import Predictor, compilation_in
    from perennial.models.scoring.answering import Answering

    folder = Path(duty.folder)
    try:
        answering = Answering(Predictor.load(folder, trusted=duty.trusted, native=duty.native))
    except PerennialError as error:
        return None, Hello(error=type(error).__name__, what=error.what, where=error.where, remedy=error.remedy)
    except Exception as error:  # noqa: BLE001  the boundary of the process: what the model raises is the reply
        traceback.print_exc()
        return None, Hello(error="UserCodeError", what=f"the model does not load: {type(error).__name__}: {error}")
    found = None if duty.native else compilation_in(folder)
    form = "compiled" if found is not None and found.form is not None else "native"
    return answering, Hello(form=form, columns=answering.columns)


def _answer(answering: Answering, given: IO[bytes], out: _Pipe) -> None:
    import polars as pl
    import pyarrow as pa
    import pyarrow.ipc as ipc

    writer: Any = None
    for batch in ipc.open_stream(given):
        answered = answering.answer(pl.DataFrame(batch)).to_arrow(compat_level=pl.CompatLevel.oldest())
        if writer is None:
            writer = ipc.new_stream(pa.PythonFile(out, mode="w"), answered.schema)
        writer.write_batch(answered.combine_chunks().to_batches()[0])
    if writer is not None:
        writer.close()


if __name__ == "__main__":
    main()
