"""Answers as tensors of the Open Inference Protocol, for HTTP and gRPC alike.

| tensor | datatype, shape | when |
|---|---|---|
| the target's name | FP64, or of the labels BYTES, INT64, BOOL, FP64; [n] | always |
| `probabilities` | FP64 [n, classes] | the model gives them; `parameters.classes` has their order, as JSON text |
| `interval` | FP64 [n, 2]: low, high | the endpoint promises intervals |
| `set` | BOOL [n, classes]: which labels are in the prediction set | the endpoint promises sets |
| `prediction_id` | BYTES [n] | asked for by name |
| `version` | INT64 [n]: the version that answered each row, 0 where none did | asked for by name |

A row without an answer is null in JSON, NaN in floats, an empty text in BYTES; whole numbers and BOOL have no value for
"none", so their tensor is FP64 then. Such rows are told in `parameters`: `errors` (JSON text, one entry for each row)
and `flags` (JSON text, a list for each row: guard, action, column, says). Parameters are texts, numbers or booleans, as
gRPC has no others: `prediction_id` of the first row (the others count on), `endpoint`, `arm` of the first row and,
where rows differ, `versions` and `arms` (JSON text). A target that is named like another tensor here is `prediction`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from perennial.errors import Invalid
from perennial.models.signature import Field, Signature
from perennial.serve.frames import row_ids
from perennial.serve.protocols.tensors import Flat

if TYPE_CHECKING:
    from perennial.serve.answer import Answer

__all__ = [
    "Output",
    "TensorMeta",
    "check_wanted",
    "inputs_told",
    "outputs_of",
    "outputs_told",
    "parameters_of",
    "value_name",
    "version_of",
]

_EXTRA = ("probabilities", "interval", "set")
_BY_NAME = ("prediction_id", "version")
_DATATYPES = {
    "float64": "FP64", "int64": "INT64", "bool": "BOOL", "string": "BYTES", "binary": "BYTES", "datetime": "BYTES",
    "date": "BYTES",
}  # fmt: skip
_CONTENT = {"string": "str", "binary": "base64", "datetime": "datetime", "date": "datetime"}


class Output(msgspec.Struct, kw_only=True, gc=False):
    """One tensor of an answer, its elements flat and row-major; None where a row has no answer."""

    name: str
    datatype: str
    shape: list[int]
    values: Flat
    parameters: dict[str, Any] | None = None


class TensorMeta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How metadata describe one tensor; -1 is a free dimension."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None


def value_name(signature: Signature) -> str:
    """The tensor that holds the predictions."""
    name = signature.output.name
    return "prediction" if name in (*_EXTRA, *_BY_NAME) else name


def outputs_told(signature: Signature) -> list[TensorMeta]:
    """The tensors that every answer has; probabilities where the labels are known."""
    told = [TensorMeta(name=value_name(signature), datatype=_datatype(signature), shape=[-1])]
    if signature.task == "classification" and signature.classes:
        told.append(TensorMeta(name="probabilities", datatype="FP64", shape=[-1, len(signature.classes)]))
    return told


def inputs_told(signature: Signature) -> list[TensorMeta]:
    """A tensor for each column of a request, those that need not be sent marked so."""
    return [_input_told(field) for field in signature.inputs]


def check_wanted(wanted: Sequence[str], signature: Signature) -> None:
    """Refuse names that no answer of this signature has.

    Raises:
        Invalid: Points at the name, as `outputs[1].name`.
    """
    known = [value_name(signature), *_EXTRA, *_BY_NAME]
    if signature.task == "regression":
        known = [name for name in known if name not in ("probabilities", "set")]
    for at, name in enumerate(wanted):
        if name not in known:
            raise Invalid(
                f"there is no output {name!r}",
                where=f"outputs[{at}].name",
                remedy=f"ask for some of {', '.join(known)}, or leave outputs out",
            )


def outputs_of(answer: Answer, signature: Signature, wanted: Sequence[str] | None = None) -> list[Output]:
    """The tensors of an answer: those asked for, in that order; without `wanted` all but those given only by name.

    An output that was asked for and that this answer lacks (probabilities of a model without) is left out.
    """
    if wanted:
        made = [_made(name, answer, signature) for name in dict.fromkeys(wanted)]
    else:
        made = [_predictions(value_name(signature), answer, signature), _probabilities(answer)]
        if answer.intervals is not None or answer.sets is not None:
            made += [_made("interval", answer, signature), _made("set", answer, signature)]
    return [output for output in made if output is not None]


def parameters_of(answer: Answer) -> dict[str, str]:
    """What an answer says besides its tensors."""
    told = {"prediction_id": answer.id, "endpoint": answer.endpoint, "arm": answer.arms[0]}
    if answer.versions.count(answer.versions[0]) != len(answer.versions):
        told["versions"] = _text(answer.versions)
    if answer.arms.count(answer.arms[0]) != len(answer.arms):
        told["arms"] = _text(answer.arms)
    if answer.errors is not None:
        told["errors"] = _text(answer.errors)
    if answer.flags is not None:
        told["flags"] = _text(answer.flags)
    return told


def version_of(answer: Answer) -> str:
    """The version that answered the first row; empty where none did."""
    return str(answer.versions[0]) if answer.versions[0] else ""


def _made(name: str, answer: Answer, signature: Signature) -> Output | None:
    rows = answer.rows
    if name == "probabilities":
        return _probabilities(answer)
    if name == "interval" and answer.intervals is not None:
        values = _filled(answer.intervals, 2)
        return Output(name=name, datatype="FP64", shape=[rows, 2], values=values)
    if name == "set" and answer.sets is not None and answer.classes is not None:
        within = [label in chosen for chosen in (labels or () for labels in answer.sets) for label in answer.classes]
        return Output(
            name=name, datatype="BOOL", shape=[rows, len(answer.classes)], values=within,
            parameters={"classes": _text(answer.classes)},
        )  # fmt: skip
    if name == "prediction_id":
        return Output(name=name, datatype="BYTES", shape=[rows], values=row_ids(answer.id, rows))
    if name == "version":
        return Output(name=name, datatype="INT64", shape=[rows], values=cast("list[Any]", answer.versions))
    return None if name in ("interval", "set") else _predictions(name, answer, signature)


def _predictions(name: str, answer: Answer, signature: Signature) -> Output:
    rows = answer.rows
    datatype = _datatype(signature)
    if datatype in ("INT64", "BOOL") and None in answer.values:
        datatype = "FP64"
    if datatype != "BYTES":
        return Output(name=name, datatype=datatype, shape=[rows], values=answer.values)
    texts = [value if value is None or isinstance(value, str) else str(value) for value in answer.values]
    return Output(name=name, datatype=datatype, shape=[rows], values=texts, parameters={"content_type": "str"})


def _probabilities(answer: Answer) -> Output | None:
    if answer.probabilities is None:
        return None
    classes = answer.classes or []
    width = len(classes) or next((len(row) for row in answer.probabilities if row is not None), 1)
    return Output(
        name="probabilities", datatype="FP64", shape=[answer.rows, width], values=_filled(answer.probabilities, width),
        parameters={"classes": _text(classes)} if classes else None,
    )  # fmt: skip


def _filled(rows: Sequence[list[float] | None], width: int) -> Flat:
    """Rows of numbers as one flat tensor, NaN where a row has none."""
    if len(rows) == 1:
        return rows[0] if rows[0] is not None else [None] * width
    gap = [np.nan] * width
    return np.array([gap if row is None else row for row in rows], np.float64).reshape(-1)


def _datatype(signature: Signature) -> str:
    """Of the predictions: of the labels where they are known, which is finer than the column's type."""
    if signature.task == "regression":
        return "FP64"
    kinds = set(map(type, signature.classes or ()))
    if not kinds:
        return _DATATYPES[signature.output.type]
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    return "FP64" if kinds <= {int, float} else "BYTES"


def _input_told(field: Field) -> TensorMeta:
    told: dict[str, Any] = {}
    if field.type in _CONTENT:
        told["content_type"] = _CONTENT[field.type]
    if not field.required:
        told["required"] = False
    if field.nullable:
        told["nullable"] = True
    return TensorMeta(
        name=field.name, datatype=_DATATYPES[field.type], shape=[-1, *(field.shape or [])], parameters=told or None
    )


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
