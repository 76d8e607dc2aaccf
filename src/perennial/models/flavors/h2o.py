"""h2o: a trained estimator, stored as a MOJO and answered by h2o's own scoring library in a JVM, without a cluster.

A MOJO is a zip with the model as text and arrays. Its reader (`hex.genmodel.MojoModel`) picks one of the classes that
come with h2o by the name of the algorithm; it loads no class from the file and deserialises no Java objects, so a MOJO
runs no code. A POJO is Java source and is refused. h2o's binary form is read by a cluster, which makes objects of any
of its classes: that is code, and it is turned into a MOJO once, when it is imported (`convert_mlflow`).

A loop's train step returns `Mojo.of(model)`. The training process, too, asks the MOJO, so what is judged is what is
served. A category that h2o did not see in training counts as missing, as in an h2o cluster. A missing value goes where
the algorithm sends it (a side of a split, the mean), or to the level "nan" or "" if that is what h2o's client made of
it in training. Labels are those of h2o's own threshold, which for two classes is the one with the best F1 in training
and rarely 0.5: a label need not be the most probable class. The order of the classes is the MOJO's.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import ConfigError, UserCodeError
from perennial.models.flavors.flavor import Answered, Format, Label, Saved
from perennial.models.flavors.h2o_mojo import (
    BEGINS,
    Mojo,
    check_mojo,
    convert_mlflow,
    exported,
    jar,
    read_mlflow,
    read_mojo,
    recorded,
)
from perennial.models.flavors.processes.child import Child
from perennial.models.flavors.processes.h2o_columns import FALSE, TRUE, Column, number
from perennial.models.signature import Field, Signature, Task
from perennial.types import JSON

__all__ = ["H2O", "H2OScorer", "Mojo", "convert_mlflow", "read_mlflow", "read_mojo"]

MOJO = Format(runs_code=False, main="model.zip", begins=BEGINS)
_CATEGORIES: Mapping[str, Task] = {
    "Regression": "regression",
    "Binomial": "classification",
    "Multinomial": "classification",
    "Ordinal": "classification",
}
_LENGTH = struct.Struct("<i")


class H2OScorer:
    """A MOJO in a JVM. Options: the algorithm and the version of h2o that trained it, for people."""

    relative = 1e-9
    model: Any = None

    def __init__(self, mojo: bytes, signature: Signature, where: str) -> None:
        check_mojo(mojo, where)
        self._schema: pl.Schema | None = None
        self._encoding: list[pl.Expr] = []
        self._child = _jvm(mojo, where)
        described = json.loads(self._child.hello)
        self.options: Mapping[str, JSON] = {"algorithm": described["algorithm"], "h2o": described["version"]}
        try:
            self._understand(described, signature, where)
        except BaseException:
            self._child.close()
            raise

    @classmethod
    def answers_of(cls, mojo: bytes, x: pl.DataFrame) -> Answered:
        """Answers of a MOJO on its own, without a signature."""
        check_mojo(mojo, "the model")
        child = _jvm(mojo, "the model")
        child.close()
        task = _CATEGORIES.get(json.loads(child.hello)["category"], "regression")
        columns = [Field(name=name, type="float64") for name in x.columns]
        output = Field(name="prediction", type="float64")
        signature = Signature(inputs=columns, columns=columns, output=output, task=task)
        scorer = cls(mojo, signature, "the model")
        try:
            return scorer.answer(x)
        finally:
            scorer.close()

    def _understand(self, described: Mapping[str, Any], signature: Signature, where: str) -> None:
        kind = _CATEGORIES.get(described["category"])
        if kind is None:
            raise UserCodeError(
                f"h2o's {described['algorithm']} answers {described['category']}, which is neither numbers nor classes",
                where=where,
                remedy="train a regression or a classification",
            )
        if kind != signature.task:
            remedy = "make the target categorical before training: frame[target] = frame[target].asfactor()"
            raise UserCodeError(
                f"h2o trained a {kind}, but the task is {signature.task}",
                where=where,
                remedy=remedy if kind == "regression" else 'declare task="classification"',
            )
        domain = described["classes"]
        self.classes: list[Label] | None = None if domain is None else [_label(t, signature) for t in domain]
        self._labels = _label_array(self.classes or [])
        seen = {field.name: field.categories or [] for field in signature.columns}
        self._columns = [Column(column, seen.get(column["name"], [])) for column in described["columns"]]
        self._width: int = described["width"]
        self._offset: str | None = described["offset"]
        wanted = {column.name for column in self._columns} | ({self._offset} if self._offset else set())
        missing = sorted(wanted - {field.name for field in signature.columns})
        if missing:
            raise UserCodeError(
                f"the h2o model takes the column {missing[0]!r}, which the features do not give",
                where=where,
                remedy="train on the columns of X and the target only",
            )

    @property
    def pid(self) -> int | None:
        """Of the process with the JVM, while it runs."""
        return self._child.pid

    def answer(self, x: pl.DataFrame) -> Answered:
        answer = self._child.ask(self._matrix(x).astype("<f8", copy=False).tobytes())
        (size,) = _LENGTH.unpack_from(answer)
        errors: list[tuple[int, str]] = json.loads(answer[4 : 4 + size])
        if errors:
            row, told = errors[0]
            raise UserCodeError(f"h2o does not answer row {row + 1}: {told}", remedy="look at the values of this row")
        found = np.frombuffer(answer, dtype="<f8", offset=4 + size).astype(np.float64).reshape(x.height, -1)
        if self.classes is None:
            return Answered(found[:, 0])
        return Answered(self._labels[found[:, 0].astype(np.int64)], found[:, 1 : 1 + len(self.classes)])

    def close(self) -> None:
        self._child.close()

    def _matrix(self, x: pl.DataFrame) -> NDArray[np.float64]:
        """The rows as `score0` takes them, with the offset last where there is one."""
        if self._schema != x.schema:  # made once: for one row it costs more than applying it
            self._schema = x.schema
            self._encoding = [column.expression(x.schema[column.name]) for column in self._columns]
            if self._offset is not None:
                self._encoding.append(number(pl.col(self._offset), x.schema[self._offset], self._offset))
        values = x.select(self._encoding).to_numpy()
        matrix = np.full((x.height, self._width + (self._offset is not None)), np.nan)
        for i, column in enumerate(self._columns):
            column.fill(matrix, values[:, i])
        if self._offset is not None:
            matrix[:, -1] = values[:, -1]
        return matrix


class H2O:
    """Estimators of h2o: anything trained that it exports as a MOJO; of an AutoML, its leader."""

    name = "h2o"
    extra = "h2o"
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType({"mojo": MOJO})

    def recognises(self, model: object) -> bool:
        if isinstance(model, Mojo):
            return True
        kinds = {kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("h2o.")}
        return bool(kinds & {"ModelBase", "H2OAutoML"})

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> H2OScorer:
        return H2OScorer(exported(model), signature, "the model")

    def save(self, model: Any, signature: Signature) -> Saved:
        # MLflow's own kind of h2o model is the binary, which needs a cluster; its loader takes the package as it is.
        return Saved(files={MOJO.main: exported(model)}, format="mojo")

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> H2OScorer:
        path = folder / MOJO.main
        return H2OScorer(path.read_bytes(), signature, str(path))

    def curves(self, model: Any) -> dict[str, list[float]]:
        return recorded(model)


def _jvm(mojo: bytes, where: str) -> Child:
    command = [sys.executable, "-m", "perennial.models.flavors.processes.jvm", str(jar())]
    try:
        return Child(command, mojo, name="h2o")
    except UserCodeError as error:
        if "JVMNotFound" in error.what:
            raise ConfigError(
                "there is no Java runtime", remedy="install Java 17 (openjdk-17-jre-headless), or set JAVA_HOME"
            ) from error
        raise UserCodeError(
            f"the model does not load: {error.what}",
            where=where,
            remedy="use the version of h2o in environment.txt",
        ) from error


def _label(text: str, signature: Signature) -> Label:
    """The class that h2o's level stands for."""
    for label in signature.classes or []:
        if isinstance(label, bool):
            if text in (TRUE if label else FALSE):
                return label
        elif text == str(label) or (isinstance(label, float) and label.is_integer() and text == str(int(label))):
            return label
    return text


def _label_array(labels: list[Label]) -> NDArray[Any]:
    array = np.array(labels)
    if array.dtype.kind in "biuf":
        return array
    kept = np.empty(len(labels), dtype=object)
    kept[:] = labels
    return kept
