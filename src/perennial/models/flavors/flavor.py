"""What a toolkit must offer so that its models can be packaged, loaded and asked: a `Flavor`, one file for each.

A flavor turns a fitted model into files (`save`), and such files into a `Scorer` that answers rows (`load`). A model in
memory is asked through a scorer of the same kind (`scorer`), so that what is judged is what is served. Loading may run
code for some formats; whether that is allowed was decided before a flavor is asked (`models.package`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from perennial.models.signature import Signature
from perennial.types import JSON

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

__all__ = ["Answered", "Flavor", "Format", "Label", "Saved", "Scorer"]

Label = str | int | float | bool


@dataclass(frozen=True)
class Answered:
    """One answer for each row.

    `values`: shape (n,), numbers of a regression or labels of a classification; None means the most probable class.
    `probabilities`: shape (n, n_classes) in the order of the scorer's classes, or None where the model gives none.
    """

    values: NDArray[Any] | None
    probabilities: NDArray[np.float64] | None = None


class Scorer(Protocol):
    """A model that answers rows. Not safe for concurrent use.

    Attributes:
        model: The toolkit's own object, for who explains it; None where there is none in this process.
        classes: The labels in the order of its probabilities, where the model itself knows them; else None, and the
            order is the signature's.
        options: What `load` must be told to ask the saved model in the same way (`Saved.options`).
        relative: Two computations of one answer may differ by this share: 1e-9, or 1e-5 where it counts in float32.
    """

    model: Any
    classes: list[Label] | None
    options: Mapping[str, JSON]
    relative: float

    def answer(self, x: pl.DataFrame) -> Answered:
        """Answers to rows given as the model's columns (`Preparation.columns`): in order, text as Enum where closed."""
        ...

    def close(self) -> None:
        """Give back what it holds (a process, a JVM, a session); it is not asked again."""
        ...


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A model as files.

    `files`: path in the package -> bytes; every path begins with "model". `format`: one of the flavor's formats.
    `options`: what `load` needs besides. `mlflow`: blocks of the MLmodel file by which MLflow's own loader of this
    toolkit finds it, such as {"xgboost": {...}}; empty where it has none.
    """

    files: Mapping[str, bytes]
    format: str
    options: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    mlflow: Mapping[str, JSON] = field(default_factory=dict[str, JSON])


@dataclass(frozen=True)
class Format:
    """A form in which a flavor stores models.

    `runs_code`: loading it can run code that is in it. `main`: the file that holds it. `begins`: bytes with which this
    file must begin, so that content that claims another format is refused before it is parsed; empty where the format
    has no fixed beginning, then the flavor's `load` checks.
    """

    runs_code: bool
    main: str
    begins: bytes = b""


class Flavor(Protocol):
    """One toolkit. Stateless.

    Attributes:
        name: As in `FLAVORS` and in the package's manifest.
        extra: The extra of this package that installs the toolkit, empty where it is always there.
        formats: By name.
    """

    name: str
    extra: str
    formats: Mapping[str, Format]

    def recognises(self, model: object) -> bool:
        """Whether this model is of this toolkit; imports no toolkit to find out."""
        ...

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> Scorer:
        """A fitted model as it answers; `x` holds some rows to find out how it wants to be asked."""
        ...

    def save(self, model: Any, signature: Signature) -> Saved:
        """The model as files: the same bytes for the same model, wherever the toolkit allows it."""
        ...

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> Scorer:
        """The model in a checked-out package; `saved_as` is the format.

        Raises:
            UserCodeError: It does not load; says why, and what to install.
            Corrupt: The content is not of the format.
        """
        ...

    def curves(self, model: Any) -> dict[str, list[float]]:
        """What training recorded, by name, one value per iteration or epoch; empty where the toolkit keeps nothing."""
        ...
