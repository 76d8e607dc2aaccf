"""What a model takes and what it answers.

`inputs` are the columns of a request (before the features), `columns` what the model itself is given (after them).
Requests are checked against it in `serve.intake`, and become frames in `models.rows`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from perennial.types import JSON

__all__ = ["ColumnType", "Field", "Records", "Signature", "Task"]

ColumnType = Literal["float64", "int64", "bool", "string", "binary", "datetime", "date"]
Task = Literal["regression", "classification"]
Records = list[dict[str, JSON]]


class Field(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column.

    `nullable`: missing values occurred in training. `categories`: the texts seen in training. `shape`: each value is a
    tensor of this shape, in JSON as nested lists. `unit`: what it is measured in, for people.
    """

    name: str
    type: ColumnType
    required: bool = True
    nullable: bool = False
    categories: list[str] | None = None
    shape: list[int] | None = None
    unit: str | None = None


class Signature(Struct, frozen=True, kw_only=True):
    """What a model takes and answers.

    Attributes:
        inputs: Columns of a request. A column with `required=False` may be sent (it finds the row, or routes it) but
            is never seen by features or model.
        columns: Columns of the model, in its order.
        output: The answer. Its name is the target's.
        task: What kind of answer.
        classes: The labels of a classifier, in the order of its probabilities.
        positive: The class that binary metrics are about.
        key: Column that names the entity, if any.
        time: Column that tells when the row was true, if any.
        frame: Library of the frame that the features are given.
        model_frame: Library of the frame that the model is given.
    """

    inputs: list[Field]
    columns: list[Field]
    output: Field
    task: Task
    classes: list[str | int | float | bool] | None = None
    positive: str | int | float | bool | None = None
    key: str | None = None
    time: str | None = None
    frame: Literal["polars", "pandas", "pyarrow"] = "polars"
    model_frame: Literal["polars", "pandas"] = "polars"
