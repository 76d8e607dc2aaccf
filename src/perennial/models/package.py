"""A model package: immutable files by digest that answer predictions without anything else.

A package is an object in the store: a manifest that names files by digest. `checkout` copies them into a folder and
checks every byte; `Predictor` runs such a folder. Importing this module is cheap and runs no code of a user: only
`Predictor.load` unpickles, so it is called in workers and in the workspace's own executor, never in a server.
"""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
from blake3 import blake3
from msgspec import Struct

from perennial.errors import Corrupt, Invalid, PerennialError, UserCodeError
from perennial.models.signature import Records, Signature
from perennial.types import JSON, Digest, canonical_json

if TYPE_CHECKING:
    import polars as pl

    from perennial.models.preparation import Preparation
    from perennial.store.files import Files
    from perennial.store.objects import ObjectStore

__all__ = [
    "MANIFEST",
    "Answer",
    "Code",
    "PackageManifest",
    "Predictor",
    "Settings",
    "checkout",
    "files_of",
    "read_manifest",
]

MANIFEST = "manifest.json"  # written last: a folder that has it is whole
RELATIVE = 1e-9  # golden numbers may differ by this share: the last bits depend on the machine's vector unit
Answer = dict[str, JSON]


class PackageManifest(Struct, frozen=True, kw_only=True):
    """What a package is made of. `files`: path -> (digest, size in bytes)."""

    format: Literal[1] = 1
    kind: Literal["sklearn", "python"]
    files: dict[str, tuple[Digest, int]]

    def to_bytes(self) -> bytes:
        return canonical_json(cast(JSON, msgspec.to_builtins(self)))


class Code(Struct, frozen=True, kw_only=True):
    """Where the user's functions of a package are: `module` under `code/`, and the features function in it, if any."""

    module: str
    features: str | None = None


class Settings(Struct, frozen=True, kw_only=True):
    """How the model is asked (`model.json`).

    Attributes:
        call: Method that answers; empty when the model itself is called.
        probabilities: The model has `predict_proba`.
        argmax: Its prediction is always the most probable class, so that one call gives both.
        array: It was trained on an array and is given one.
        code: The user's functions.
    """

    call: Literal["predict", ""] = "predict"
    probabilities: bool = False
    argmax: bool = False
    array: bool = False
    code: Code | None = None


def read_manifest(data: bytes) -> PackageManifest:
    """Parse a manifest.

    Raises:
        Corrupt: Not a manifest, or one that names a file outside its folder.
    """
    try:
        manifest = msgspec.json.decode(data, type=PackageManifest)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"this is not the manifest of a model package: {error}") from error
    for path in manifest.files:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path or path == MANIFEST:
            raise Corrupt(f"a model package names the file {path!r}", remedy="do not use this package")
    return manifest


def files_of(manifest: bytes) -> list[Digest]:
    """The objects that a package names, for `verify`, backup and garbage collection."""
    return [digest for digest, _ in read_manifest(manifest).files.values()]


def checkout(digest: Digest, objects: ObjectStore, folder: Path, *, files: Files | None = None) -> Path:
    """Copy a package into `folder`/`digest`, every byte checked; repeatable, and whole or not there.

    Raises:
        Corrupt: A file differs from its digest. NotFound: It is not in the store.
    """
    from perennial.store.files import LocalFiles

    files = files or LocalFiles()
    target = folder / digest
    if (target / MANIFEST).is_file():
        verify(target)
        return target
    data = objects.get(digest)
    manifest = read_manifest(data)
    files.mkdirs(target)
    for path, (content, _) in manifest.files.items():
        files.mkdirs((target / path).parent)
        files.write_atomic(target / path, objects.get(content))
    files.write_atomic(target / MANIFEST, data)
    return target


def verify(folder: Path) -> dict[str, bytes]:
    """The files of a checked-out package, each re-hashed.

    Raises:
        Corrupt: The folder is not whole, or a file differs from its digest; names it.
    """
    remedy = f"remove the folder {folder}; it is made again from the store"
    try:
        manifest = read_manifest((folder / MANIFEST).read_bytes())
        contents = {path: (folder / path).read_bytes() for path in manifest.files}
    except OSError as error:
        raise Corrupt(f"the model package is not whole: {error}", where=str(folder), remedy=remedy) from error
    for path, (digest, _) in manifest.files.items():
        if blake3(contents[path]).hexdigest() != digest:
            raise Corrupt("a file of a model package differs from its digest", where=str(folder / path), remedy=remedy)
    return contents


class Predictor:
    """A loaded model: rows in, answers out, by the code that also ran in training. Not safe for concurrent use."""

    def __init__(
        self, preparation: Preparation, model: Any, settings: Settings, golden: Mapping[str, Any] | None = None
    ):
        self.signature: Signature = preparation.signature
        self._preparation = preparation
        self._settings = settings
        self._golden = golden or {"records": [], "answers": []}
        self._answer: Any = getattr(model, settings.call) if settings.call else model
        self._probabilities: Any = model.predict_proba if settings.probabilities else None

    @classmethod
    def load(cls, folder: Path) -> Predictor:
        """Load a checked-out package. Runs code: only for packages that are trusted.

        Raises:
            Corrupt: A file differs from its digest.
            UserCodeError: The features' module or the model does not load.
        """
        from perennial.models.preparation import Preparation

        files = verify(folder)
        signature = msgspec.json.decode(files["signature.json"], type=Signature)
        settings = msgspec.json.decode(files["model.json"], type=Settings)
        function = _import_features(folder / "code", settings.code)
        try:
            model = pickle.loads(files["model.pkl"])  # noqa: S301  # the caller vouches: only trusted packages
        except Exception as error:  # a pickle can raise anything; the boundary is this package
            raise UserCodeError(
                f"the model does not load: {type(error).__name__}: {error}",
                where=str(folder / "model.pkl"),
                remedy="use the library versions in environment.txt; classes of the model must be in the loop's module",
            ) from error
        return cls(Preparation(signature, function), model, settings, json.loads(files["golden.json"]))

    def frame(self, records: Records) -> pl.DataFrame:
        """Checked records as the frame that `predict` takes."""
        from perennial.models.rows import to_frame

        return to_frame(self.signature, records)

    def predict(self, frame: pl.DataFrame) -> list[Answer]:
        """One answer for each row: {"prediction": value}, with "probabilities" {class: p} from a classifier.

        A row on which features or model fail is answered {"prediction": None, "error": reason}; its neighbours are not
        touched by it.
        """
        try:
            return self._batch(frame)
        except Exception as error:  # noqa: BLE001  # the user's code: recorded in the row that caused it
            if frame.height == 1:
                # Only what happened: where it stands on the disk of the service is nobody's business outside.
                told = error.what if isinstance(error, PerennialError) else str(error)
                return [{"prediction": None, "error": f"{type(error).__name__}: {told}"}]
            return [self.predict(frame[i])[0] for i in range(frame.height)]

    def check_golden(self) -> list[str]:
        """Answer the package's golden rows again; one sentence per difference, none when all are as recorded."""
        records, expected = self._golden["records"], self._golden["answers"]
        if not records:
            return []
        found = self.predict(self.frame(records))
        return [
            f"golden row {i}: answered {json.dumps(answer)}, recorded {json.dumps(wanted)}"
            for i, (answer, wanted) in enumerate(zip(found, expected, strict=True))
            if not same(answer, wanted)
        ]

    def _batch(self, frame: pl.DataFrame) -> list[Answer]:
        x: Any = self._preparation.x(frame)
        if self._settings.array:
            x = x.to_numpy()
        if self._probabilities is None:
            return [_answer(value) for value in self._values(self._answer(x), frame.height)]
        table: Any = self._probabilities(x)
        classes = self.signature.classes or []
        names = [str(label) for label in classes]
        labels = [classes[i] for i in table.argmax(axis=1).tolist()] if self._settings.argmax else self._answer(x)
        answers = [_answer(value) for value in self._values(labels, frame.height)]
        for answer, row in zip(answers, table.tolist(), strict=True):
            answer["probabilities"] = dict(zip(names, row, strict=True))
        return answers

    def _values(self, output: Any, rows: int) -> list[Any]:
        values = plain_values(output)
        if len(values) != rows:
            raise Invalid(f"the model gave {len(values)} answers for {rows} rows")
        if self.signature.task == "regression":
            return [float(value) for value in values]
        return values


def plain_values(output: Any) -> list[Any]:
    """A model's output (array, series, list) as Python values, one per row."""
    values: Any = (
        output.tolist() if hasattr(output, "tolist") else output.to_list() if hasattr(output, "to_list") else output
    )
    return [value[0] if isinstance(value, list) and len(cast(list[Any], value)) == 1 else value for value in values]


def same(a: JSON, b: JSON) -> bool:
    """Equal answers: numbers within `RELATIVE`, everything else exactly."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= RELATIVE * max(abs(a), abs(b))
    return type(a) is type(b) and a == b


def _answer(value: Any) -> Answer:
    if isinstance(value, float) and not abs(value) < float("inf"):
        return {"prediction": None, "error": f"the model answered {value}"}
    return {"prediction": value}


def _import_features(folder: Path, code: Code | None) -> Any:
    """Import the package's own modules, so that the features and the classes of the pickled model are found."""
    if code is None:
        return None
    for path in folder.rglob("*.py"):  # another version's modules of the same names must not be taken for these
        name = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]
    try:
        module = importlib.import_module(code.module)
        return getattr(module, code.features) if code.features else None
    except Exception as error:  # whatever the user's module raises at import
        raise UserCodeError(
            f"the code of the model package does not load: {type(error).__name__}: {error}",
            where=str(folder / code.module),
            remedy="features may import only what is installed here",
        ) from error
