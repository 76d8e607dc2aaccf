"""Frames of segments to tables, column by column: this is where a million captured rows take seconds, not minutes.

Nothing is done for each row that can be done for each column, layout or request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from math import inf
from typing import Any

import msgspec
import numpy as np
import polars as pl

from perennial.capture.tables import INPUT, JSON, PREDICTED, SHADOWED, number, text
from perennial.serve.frames import Answered, Layout, OldShadowed, Predicted, Shadowed, row_ids

__all__ = ["answered_table", "old_predicted_table", "old_shadowed_table", "shadowed_table", "texts"]

_encode = msgspec.json.Encoder().encode
_Json = Callable[[Sequence[Any]], str]


def answered_table(layout: Layout, frames: Sequence[Answered]) -> pl.DataFrame:
    """Columns of `PREDICTED` and of the requests, one row for each row of these, which all lie as the layout says."""
    answers = [frame.values for frame in frames]
    counts = list(map(len, answers))
    total = sum(counts)
    is_single = total == len(frames)  # no request is empty
    if is_single:
        ids, rows = [frame.id for frame in frames], np.zeros(total, dtype=np.int32)
    else:
        ids = [name for frame in frames for name in row_ids(frame.id, len(frame.values))]
        rows = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    request = {
        "key": [frame.key for frame in frames],
        "at": [frame.at for frame in frames],
        "status": [frame.status for frame in frames],
        "latency_us": [frame.latency_us for frame in frames],
        "shadow_version": [frame.shadow_version for frame in frames],
        "source": [frame.source or None for frame in frames],
    }
    of_request = pl.DataFrame(request, schema={name: PREDICTED[name] for name in request})
    if not is_single:
        of_request = of_request[np.repeat(np.arange(len(frames)), counts)]
    values = _flat(answers, is_single)
    asked = _flat([frame.rows for frame in frames], is_single)
    intervals = _optional([frame.intervals for frame in frames], counts)
    key = layout.key
    of_row: dict[str, Any] = {
        "id": ids,
        "row": rows,
        "version": _each([frame.versions for frame in frames], counts),
        "arm": _each([frame.arms for frame in frames], counts),
        "entity": None if key is None else texts([row[key] for row in asked]),
        "input": None,
        "prediction": texts(values),
        "value": _numbers(values),
        "probabilities": _probabilities(layout, _optional([frame.probabilities for frame in frames], counts)),
        "error": _errors(frames, counts),
        "flags": _encoded(_optional([frame.flags for frame in frames], counts)),
        "low": None if intervals is None else [_bound(pair, 0, -inf) for pair in intervals],
        "high": None if intervals is None else [_bound(pair, 1, inf) for pair in intervals],
        "label_set": _sets(_optional([frame.sets for frame in frames], counts)),
        "policy": [_encode(layout.policy).decode()] * total if layout.policy else None,
    }
    return _table(total, of_row, PREDICTED, of_request).hstack(_inputs(layout.names, asked))


def shadowed_table(layout: Layout, frames: Sequence[Shadowed]) -> pl.DataFrame:
    """Columns of `SHADOWED`, one row for each row of these answers."""
    counts = [len(frame.values) for frame in frames]
    values = list(chain.from_iterable(frame.values for frame in frames))
    per_frame = {
        "at": [frame.at for frame in frames],
        "version": [frame.version for frame in frames],
        "latency_us": [frame.latency_us for frame in frames],
    }
    of_frame = pl.DataFrame(per_frame, schema={name: SHADOWED[name] for name in per_frame})
    of_row: dict[str, Any] = {
        "id": [name for frame in frames for name in row_ids(frame.id, len(frame.values))],
        "prediction": texts(values),
        "value": _numbers(values),
        "probabilities": _probabilities(layout, _optional([frame.probabilities for frame in frames], counts)),
        "error": _optional([frame.errors for frame in frames], counts),
    }
    return _table(len(values), of_row, SHADOWED, of_frame[np.repeat(np.arange(len(frames)), counts)])


def old_predicted_table(frames: Iterable[Predicted]) -> pl.DataFrame:
    """The same of frames of before there were layouts."""
    rows = [
        {
            "id": row_id,
            "key": frame.key,
            "row": row,
            "at": frame.at,
            "status": frame.status,
            "version": frame.versions[row],
            "arm": frame.arms[row],
            "entity": text(frame.entities[row]) if frame.entities else None,
            "input": text(frame.inputs[row]),
            **_old_answer(frame.outputs[row], frame.latency_us),
            "shadow_version": frame.shadow_version,
        }
        for frame in frames
        for row, row_id in enumerate(row_ids(frame.id, len(frame.outputs)))
    ]
    return pl.DataFrame(rows, schema=PREDICTED)


def old_shadowed_table(frames: Iterable[OldShadowed]) -> pl.DataFrame:
    rows = [
        {"id": row_id, "at": frame.at, "version": frame.version, **_old_answer(output, frame.latency_us)}
        for frame in frames
        for row_id, output in zip(row_ids(frame.id, len(frame.outputs)), frame.outputs, strict=True)
    ]
    return pl.DataFrame(rows, schema=SHADOWED)


def texts(values: Sequence[Any]) -> list[str | None]:
    """`tables.text` of each value; numbers are encoded all at once.

    >>> texts([1.0, 2.5, 3]), texts(["a", None, True])
    (['1', '2.5', '3'], ['"a"', None, 'true'])
    """
    kinds = set(map(type, values))
    if values and kinds <= {float, int}:
        if float in kinds:
            values = [int(v) if type(v) is float and v.is_integer() and abs(v) < 2**53 else v for v in values]
        parts: list[str | None] = list(_encode(values)[1:-1].decode().split(","))
        return [None if part == "null" else part for part in parts] if "null" in parts else parts
    if kinds <= {str, type(None)}:  # a few labels, mostly
        known: dict[Any, str | None] = {value: text(value) for value in set(values)}
        return [known[value] for value in values]
    return [text(value) for value in values]


_TYPES: dict[Any, Any] = {float: pl.Float64, int: pl.Int64, bool: pl.Boolean, str: pl.String, type(None): pl.Null}


def _inputs(names: Sequence[str], rows: list[Any]) -> list[pl.Series]:
    """The columns of requests, each in the type of its values, or as JSON."""
    return [_input(name, values) for name, values in zip(names, zip(*rows, strict=True), strict=True)]


def _input(name: str, values: tuple[Any, ...]) -> pl.Series:
    kind: Any = type(values[0])
    if kind not in (float, str):  # with those polars itself tells when a value is of another kind, and that is quicker
        kinds = set(map(type, values)) - {type(None)}
        kind = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else object if kinds else type(None)
    try:
        return pl.Series(INPUT + name, values, dtype=_TYPES[kind])
    except (KeyError, TypeError):  # nested, of several kinds, or a number beyond 64 bits
        return pl.Series(JSON + name, texts(values), dtype=pl.String)


def _table(height: int, of_row: dict[str, Any], schema: dict[str, Any], of_frame: pl.DataFrame) -> pl.DataFrame:
    columns = [
        pl.Series(name, values, dtype=schema[name])
        if values is not None
        else pl.Series(name, [None], dtype=schema[name]).new_from_index(0, height)
        for name, values in of_row.items()
    ]
    return pl.DataFrame(columns).hstack(of_frame).select(*schema)


def _flat(of_frames: list[list[Any]], is_single: bool) -> list[Any]:
    return [of_frame[0] for of_frame in of_frames] if is_single else list(chain.from_iterable(of_frames))


def _each(of_frames: list[Any], counts: list[int]) -> list[Any]:
    """A value for each row, given one for each frame or a list of those of its rows."""
    if len(counts) == sum(counts) and list not in set(map(type, of_frames)):
        return of_frames
    return [
        value
        for given, count in zip(of_frames, counts, strict=True)
        for value in (given if isinstance(given, list) else [given] * count)
    ]


def _optional(of_frames: list[list[Any] | None], counts: list[int]) -> list[Any] | None:
    """A value for each row, or None where no frame has any."""
    if not any(of_frames):
        return None
    return [
        value
        for of_frame, count in zip(of_frames, counts, strict=True)
        for value in (of_frame if of_frame is not None else [None] * count)
    ]


def _errors(frames: Sequence[Answered], counts: list[int]) -> list[Any] | None:
    """Why a row has no answer; where the whole request has none, the message of that."""
    told: list[list[Any] | None] = [
        frame.errors or (None if frame.status == 200 else [frame.message or "no answer"] * len(frame.values))
        for frame in frames
    ]
    return _optional(told, counts)


def _encoded(values: list[Any] | None) -> list[str | None] | None:
    return None if values is None else [_encode(value).decode() if value else None for value in values]


def _sets(sets: list[list[Any] | None] | None) -> list[str | None] | None:
    """An empty set is an answer, which misses every truth; None is no set."""
    return None if sets is None else [None if members is None else _encode(members).decode() for members in sets]


def _bound(interval: list[float | None] | None, at: int, unknown: float) -> float | None:
    """An end of an interval. One that nothing is known of is infinite, and holds every truth; None is no interval."""
    if interval is None:
        return None
    bound = interval[at]
    return unknown if bound is None else bound


def _numbers(values: Sequence[Any]) -> Sequence[float | None]:
    return values if set(map(type, values)) <= {float, type(None)} else [number(value) for value in values]


def _probabilities(layout: Layout, values: list[Any] | None) -> list[str | None] | None:
    """As an object from class to probability, as a client sees it."""
    if values is None:
        return None
    json = _as_object(tuple(map(_name, layout.classes or ())))
    return [None if value is None else json(value) for value in values]


def _name(label: object) -> str:
    return label if isinstance(label, str) else str(text(label))


@lru_cache(maxsize=256)
def _as_object(names: tuple[str, ...]) -> _Json:
    """From values in this order to the text of a JSON object with these names; a type of its own is quickest."""
    fields = [(f"f{number}", Any) for number in range(len(names))]
    renamed = {field: name for (field, _), name in zip(fields, names, strict=True)}
    try:
        kind: Any = msgspec.defstruct("Row", fields, rename=renamed, gc=False)
    except ValueError:  # a name that JSON escapes
        return lambda values: _encode(dict(zip(names, values, strict=True))).decode()
    return lambda values: _encode(kind(*values)).decode()


def _old_answer(output: dict[str, Any], latency_us: int) -> dict[str, Any]:
    prediction = output["prediction"]
    return {
        "prediction": text(prediction),
        "value": number(prediction),
        "probabilities": text(output.get("probabilities")),
        "error": output.get("error"),
        "latency_us": latency_us,
    }
