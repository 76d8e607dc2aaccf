"""R: what a script's `fit` returned, answered by an R process. Stored as an RDS and the script, which are both code.

A script defines `fit <- function(X, y, ...)`, which returns anything that can be asked (`RModel` says how). In R the
columns are numeric, logical, character, POSIXct in UTC or Date; text with known categories is a factor with the levels
of training; a missing value is NA. R sorts text by code points (LC_COLLATE=C), so that levels are the same everywhere.

What predict gives is read as follows. Regression: one number for each row. Classification: labels (factor, character or
logical); or probabilities, as a matrix or data frame with the classes as column names; or both, as a data frame with
one column of labels; or for two classes one number from 0 to 1, the probability of the second class in sorted order,
which is what `glm` calls success. Of a list, `posterior`, `class` or `fit` is taken. NA is no answer but an error of
its row.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import polars as pl

from perennial.errors import ConfigError, Corrupt, DataError, UserCodeError
from perennial.models.flavors.flavor import Answered, Format, Label, Saved
from perennial.models.flavors.processes import columns
from perennial.models.flavors.processes.child import Child
from perennial.models.flavors.processes.columns import Reader, int_bytes, raw_bytes, text_bytes, texts_bytes
from perennial.models.signature import Signature
from perennial.types import JSON

__all__ = ["R", "RModel", "RScorer", "read_mlflow", "read_rds"]

RDS = Format(runs_code=True, main="model.rds", begins=b"\x1f\x8b")
SCRIPT = "model.R"
FIT_S = 3600.0  # one fit; the run's own bound ends it sooner
_FIND = "?"  # not yet known how predict wants to be asked

Parameter = str | int | float | bool | Sequence[str] | Sequence[int] | Sequence[float] | Sequence[bool]


@dataclass(frozen=True)
class RModel:
    """A model of R.

    It is asked by the first of these that there is: `predict_rows(model, newdata)` of the script; the model itself, if
    it is a function of a data frame; its element `predict`, if it is a list with such a function; R's own
    `predict(model, newdata)`. A `glm` is asked for type="response", a classifier for the first of "prob", "probs" and
    "response" that gives probabilities.

    Attributes:
        rds: An RDS file: its path, or its bytes.
        script: R code that is run before the model is read, such as functions and methods that it needs: a path, or
            bytes; may be empty.
        packages: R and the packages that were loaded when it was fitted, with versions.
    """

    rds: bytes | str | os.PathLike[str] = field(repr=False)
    script: bytes | str | os.PathLike[str] = field(default=b"", repr=False)
    packages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rds", _rds_bytes(_content(self.rds), "the RDS file"))
        object.__setattr__(self, "script", _content(self.script))

    @classmethod
    def fit(cls, script: str | os.PathLike[str], X: Any, y: Any, **params: Parameter) -> RModel:
        """Fit with the `fit(X, y, ...)` of a script, in a new R process.

        Args:
            script: Path of the file; it is stored with the model.
            X: Frame (polars or pandas) with the model's columns.
            y: Target; text becomes a factor with sorted levels.
            params: Further arguments of `fit`: numbers, texts, booleans, or lists of them.

        Raises:
            UserCodeError: What R says went wrong. ConfigError: R is not installed.
        """
        code = _content(script)
        target = _target(y)
        arguments = [columns.column_bytes(_parameter(name, value)) for name, value in params.items()]
        message = b"".join(
            [
                raw_bytes(code),
                columns.frame_bytes(_polars(X)),
                columns.frame_bytes(target.to_frame()),
                int_bytes(len(arguments)),
                *arguments,
            ]
        )
        child = _started("fit.R", message, start_s=FIT_S)
        child.close()
        answer = Reader(child.hello)
        return cls(answer.raw(), code, tuple(answer.texts()))

    def predict(self, X: Any) -> Any:
        """Numbers or labels as texts, NA as R gives it, by an R process of their own: for a look.

        A package keeps its process, asks for probabilities, and refuses NA.
        """
        frame = _polars(X)
        child = _started("server.R", _greeting(self, "", (), ""))
        try:
            return _read(child.ask(_question(frame)), frame.height, 0)[0]
        finally:
            child.close()

    @property
    def rds_bytes(self) -> bytes:
        """The RDS file, compressed by gzip."""
        assert isinstance(self.rds, bytes)
        return self.rds

    @property
    def script_bytes(self) -> bytes:
        """The script."""
        assert isinstance(self.script, bytes)
        return self.script


def read_rds(path: str | os.PathLike[str], script: str | os.PathLike[str] | bytes = b"") -> RModel:
    """A model from an RDS file, also from the `crate.bin` of a model that MLflow's R client saved.

    Raises:
        Corrupt: It is no RDS file. R itself reads it only when the model is asked.
    """
    return RModel(rds=path, script=script)


def read_mlflow(folder: Path, block: Mapping[str, Any]) -> RModel:
    """The crate in a folder that MLflow's R client saved, by the block of it in its MLmodel."""
    return read_rds(folder / Path(str(block.get("model", "crate.bin"))).name)


class RScorer:
    """A model in an R process. Options: `type`, how predict is asked for; `packages`, R and packages when fitted."""

    relative = 1e-9

    def __init__(self, model: RModel, signature: Signature, options: Mapping[str, JSON]) -> None:
        self.model: RModel = model
        self.classes: list[Label] | None = None
        if signature.task == "classification":
            self.classes = sorted(signature.classes or [])  # pyright: ignore[reportArgumentType]  # of one type
        self._texts = [_label_text(label) for label in self.classes or []]
        self._labels = dict(zip(self._texts, self.classes or [], strict=True))
        self._task = signature.task
        self.options: Mapping[str, JSON] = options
        self._child = self._serve(str(options.get("type", "")))

    @classmethod
    def of(cls, model: RModel, signature: Signature, x: pl.DataFrame) -> RScorer:
        """Of a fitted model: how it wants to be asked is found by asking it about some rows."""
        packages: list[JSON] = [*model.packages]
        scorer = cls(model, signature, {"type": _FIND, "packages": packages})
        kind = scorer._child.ask(_question(x, finds=True)).decode()
        scorer.close()
        return cls(model, signature, {"type": kind, "packages": packages})

    @property
    def pid(self) -> int | None:
        """Of the R process, while it runs."""
        return self._child.pid

    def answer(self, x: pl.DataFrame) -> Answered:
        values, table = _read(self._child.ask(_question(x)), x.height, len(self._texts))
        if values is None or self._task == "regression":
            return Answered(values, table)
        unknown = next((text for text in values if text not in self._labels), None)
        if unknown is not None:
            raise UserCodeError(
                f"R: the model answers the label {unknown!r}", remedy=f"answer one of {', '.join(self._texts)}"
            )
        labels = np.array([self._labels[text] for text in values])
        return Answered(labels.astype(object) if labels.dtype.kind == "U" else labels, table)

    def close(self) -> None:
        self._child.close()

    def _serve(self, kind: str) -> Child:
        return _started("server.R", _greeting(self.model, self._task, self._texts, kind))


class R:
    """Models of R: `RModel`."""

    name = "r"
    extra = ""
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType({"rds": RDS})

    def recognises(self, model: object) -> bool:
        return isinstance(model, RModel)

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> RScorer:
        return RScorer.of(model, signature, x)

    def save(self, model: Any, signature: Signature) -> Saved:
        # MLflow's own kind of R model is loaded by its R client alone; its Python loader takes the package as it is.
        return Saved(files={RDS.main: model.rds_bytes, SCRIPT: model.script_bytes}, format="rds")

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> RScorer:
        packages = options.get("packages") or []
        told = tuple(str(package) for package in packages) if isinstance(packages, list) else ()
        model = RModel((folder / RDS.main).read_bytes(), (folder / SCRIPT).read_bytes(), told)
        try:
            return RScorer(model, signature, options)
        except UserCodeError as error:
            raise UserCodeError(
                f"the model does not load: {error.what}",
                where=str(folder / RDS.main),
                remedy=f"it was fitted with {', '.join(told)}: install these in R" if told else error.remedy,
            ) from error

    def curves(self, model: Any) -> dict[str, list[float]]:
        return {}  # R has no common place for them


def _started(program: str, greeting: bytes, *, start_s: float | None = None) -> Child:
    rscript = shutil.which("Rscript")
    if rscript is None:
        raise ConfigError(
            "R is not installed: there is no Rscript on the path",
            remedy="install R 4 (on Debian and Ubuntu: apt install r-base-core), or add its folder to PATH",
        )
    here = resources.files("perennial.models.flavors.processes")
    command = [rscript, "--vanilla", str(here / program), str(here / "protocol.R")]
    environment = {"LC_COLLATE": "C", "TZ": "UTC"}
    if os.environ.get("LC_ALL"):  # it would override the order of text; the rest that it says holds
        environment |= {"LC_ALL": "", "LC_CTYPE": os.environ["LC_ALL"]}
    bounds = {} if start_s is None else {"start_s": start_s}
    return Child(command, greeting, name="R", environment=environment, **bounds)


def _greeting(model: RModel, task: str, classes: Sequence[str], kind: str) -> bytes:
    parts = [raw_bytes(model.script_bytes), raw_bytes(gzip.decompress(model.rds_bytes)), text_bytes(task)]
    return b"".join([*parts, int_bytes(len(classes)), texts_bytes(classes), text_bytes(kind)])


def _question(x: pl.DataFrame, *, finds: bool = False) -> bytes:
    return int_bytes(finds) + columns.frame_bytes(x)


def _read(answer: bytes, rows: int, classes: int) -> tuple[Any, Any]:
    reader = Reader(answer)
    kind = reader.int()
    values = None if kind == 0 else reader.doubles(rows) if kind == 1 else reader.texts()
    count = reader.int()
    return values, reader.doubles(rows * count).reshape(count, rows).T if count else None


def _content(source: bytes | str | os.PathLike[str]) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error}", where=str(source), remedy="name an R file") from error


def _rds_bytes(data: bytes, where: str) -> bytes:
    """The RDS compressed by gzip without a date, however it was compressed; nothing in it is interpreted."""
    try:
        if data.startswith(b"\x1f\x8b"):
            plain = gzip.decompress(data)
        elif data.startswith(b"BZh"):
            plain = bz2.decompress(data)
        elif data.startswith(b"\xfd7zXZ"):
            plain = lzma.decompress(data)
        else:
            plain = data
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise Corrupt(f"{where} is damaged: {error}", remedy="save it again with saveRDS") from error
    if not plain.startswith((b"X\n", b"A\n", b"B\n")):
        raise Corrupt(f"{where} is no RDS file", remedy="save the model with saveRDS(model, path)")
    return gzip.compress(plain, mtime=0)


def _polars(frame: Any) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        return frame
    # A pandas category keeps its levels and their order, which a conversion of the whole frame does not promise.
    made: list[pl.Series] = []
    for name in frame.columns:
        column = frame[name]
        if hasattr(column, "cat"):
            texts = [str(level) for level in column.cat.categories]
            codes = column.cat.codes.to_list()
            values = [texts[code] if code >= 0 else None for code in codes]
            made.append(pl.Series(str(name), values, dtype=pl.Enum(texts)))
        else:
            made.append(pl.Series(str(name), pl.from_pandas(column)))
    return pl.DataFrame(made)


def _target(y: Any) -> pl.Series:
    series = y if isinstance(y, pl.Series) else pl.Series(np.asarray(y).tolist())
    if series.null_count():
        raise DataError(f"the target is missing in {series.null_count()} rows", remedy="drop these rows")
    if series.dtype in (pl.String(), pl.Categorical()) or isinstance(series.dtype, pl.Enum):
        series = series.cast(pl.String())
        series = series.cast(pl.Enum(series.unique().sort().to_list()))
    return series.alias("y")


def _parameter(name: str, value: Parameter) -> pl.Series:
    values = [value] if isinstance(value, str | int | float) else list(value)
    series = pl.Series(name, values)
    if not (series.dtype.is_numeric() or series.dtype in (pl.String(), pl.Boolean())):
        raise DataError(
            f"the parameter {name!r} holds {series.dtype}", remedy="give numbers, texts, booleans, or lists of them"
        )
    return series


def _label_text(label: Label) -> str:
    """A label as R writes it."""
    if isinstance(label, bool):
        return str(label).upper()
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
