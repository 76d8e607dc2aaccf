"""A table in, the same rows with a model's answers out, whatever its size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from perennial.data.column_types import ARROW_TYPES, column_type
from perennial.data.streamed import StreamedTable
from perennial.errors import Invalid
from perennial.models.sandbox import Rules
from perennial.models.scoring.inputs import ERROR, check_columns
from perennial.models.scoring.pool import Pool
from perennial.models.scoring.worker import Duty
from perennial.models.signature import Signature
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from perennial.data.scan import Scan

__all__ = ["Scored", "Scoring", "score", "signature_in"]

PIECE_ROWS = 1 << 16  # large enough that a piece's own cost is nothing, small enough for memory


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How a table is scored.

    Attributes:
        folder: A checked-out package.
        trusted: Code in it may run, in the workers.
        native: The toolkit's own model even where there is a compiled form.
        rules: How workers are confined.
        processes: How many; None is as many as cores, and one for a small table.
        keep: Columns of the table to write beside the answers; None keeps key and time, where the table has them.
    """

    folder: Path
    trusted: bool
    native: bool = False
    rules: Rules = field(default_factory=Rules)
    processes: int | None = None
    keep: Sequence[str] | None = None


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `unanswered` rows have a reason in the column `error`."""

    rows: int
    unanswered: int
    form: str
    processes: int
    columns: list[str]


def signature_in(folder: Path) -> Signature:
    """What the model in a checked-out package takes; nothing of it is loaded for this."""
    return msgspec.json.decode((folder / "signature.json").read_bytes(), type=ready(Signature))


def score(rows: Scan, scoring: Scoring, target: Path, *, told: Callable[[int], None] | None = None) -> Scored:
    """Write the answers to `target`, which appears whole or not at all.

    Args:
        rows: The table.
        scoring: By which model, and how.
        target: The end of its name says the format.
        told: Is told how many rows are done, now and then.

    Raises:
        Invalid: The table lacks a column, or holds it in a type that the model does not take; or a kept column has
            the name of an answer's.
        Refused, Corrupt, UserCodeError: As `Predictor.load`; or a worker process died.
        ConfigError: The target cannot be written.
    """
    signature = signature_in(scoring.folder)
    is_text = rows.format == "csv" and _loses_text(signature, rows)
    types = dict.fromkeys(rows.schema.names, "string") if is_text else rows.types()
    inputs = check_columns(signature, types, from_text=rows.format == "csv")
    kept = _kept(signature, rows.schema.names, scoring.keep)
    wanted = list(dict.fromkeys([*inputs, *kept]))
    pieces = _texts(rows) if is_text else rows.pieces(columns=wanted, rows=PIECE_ROWS)
    ahead = [piece for piece in (next(pieces, None), next(pieces, None)) if piece is not None]
    count = scoring.processes or (_cores() if len(ahead) > 1 else 1)  # one piece gives another process nothing to do
    duty = Duty(folder=str(scoring.folder), trusted=scoring.trusted, native=scoring.native, rules=scoring.rules)
    with Pool(duty, count) as pool:
        clash = [name for name in kept if name in {answer for answer, _ in pool.columns}]
        if clash:
            raise Invalid(
                f"the column {clash[0]!r} of the table has the name of an answer's",
                remedy="leave it out, or rename it: --keep names the columns to keep",
            )
        schema = ahead[0].schema if ahead else rows.schema
        answers = [pa.field(name, ARROW_TYPES[kind]) for name, kind in pool.columns]
        whole = pa.schema([*(schema.field(name) for name in kept), *answers])
        done = unanswered = 0
        with StreamedTable(target, whole) as out:
            for answered, beside in pool.answers(_asked(chain(ahead, pieces), inputs, kept)):
                found = [answered.column(one.name).cast(one.type) for one in answers]
                out.write(pa.table([*beside.columns, *found], schema=whole))
                done += answered.num_rows
                unanswered += answered.num_rows - answered.column(ERROR).null_count
                if told is not None:
                    told(done)
        return Scored(rows=done, unanswered=unanswered, form=pool.form, processes=count, columns=whole.names)


def _asked(pieces: Iterable[pa.Table], inputs: list[str], kept: list[str]) -> Iterator[tuple[pa.RecordBatch, pa.Table]]:
    """The model's columns of each piece, and those that are kept."""
    for piece in pieces:
        if piece.num_rows:
            yield piece.select(inputs).combine_chunks().to_batches()[0], piece.select(kept)


def _kept(signature: Signature, names: Sequence[str], keep: Sequence[str] | None) -> list[str]:
    if keep is None:
        return [name for name in names if name in (signature.key, signature.time)]
    missing = [name for name in keep if name not in names]
    if missing:
        raise Invalid(f"the table has no column {missing[0]!r} to keep", remedy=f"it has {', '.join(names)}")
    return [name for name in names if name in set(keep)]


def _loses_text(signature: Signature, rows: Scan) -> bool:
    """Whether a CSV column that is text to the model looks like something else: 00123 is no number then."""
    texts = {field.name for field in signature.inputs if field.required and field.type in ("string", "binary")}
    return any(field.name in texts and column_type(field.type) != "string" for field in rows.schema)


def _texts(rows: Scan) -> Iterator[pa.Table]:
    for frame in rows.texts(rows=PIECE_ROWS):
        yield frame.to_arrow().cast(pa.schema([(name, pa.string()) for name in frame.columns]))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
