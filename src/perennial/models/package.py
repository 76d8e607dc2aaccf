"""A model package: immutable files by digest that answer predictions without anything else.

A package is an object in the store: a manifest that names files by digest. `checkout` copies them into a folder and
checks every byte; `Predictor` runs such a folder. Importing this module is cheap and runs no code of a user: only
`Predictor.load` may, and only for a package that is trusted, so it is called in workers and in the workspace's own
executor, never in a server.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
from blake3 import blake3
from msgspec import Struct

from perennial.errors import Corrupt, Invalid, NotFound, PerennialError, Refused, UserCodeError
from perennial.models.accelerator import (
    AcceleratorFailed,
    asks_for_accelerator,
    failure_of_accelerator,
    is_out_of_memory,
)
from perennial.models.background import BACKGROUND, read_background
from perennial.models.facts.compilation import Compilation
from perennial.models.priors import CorrectedScorer, read_priors
from perennial.models.signature import Records, Signature
from perennial.store.decoding import ready
from perennial.types import JSON, Digest, canonical_json

if TYPE_CHECKING:
    import polars as pl

    from perennial.models.flavors.flavor import Answered, Scorer
    from perennial.models.preparation import Preparation
    from perennial.store.objects import ObjectStore

__all__ = [
    "COMPILED",
    "MANIFEST",
    "NOT_FINITE",
    "Answer",
    "Code",
    "PackageManifest",
    "Predictor",
    "Settings",
    "check_format",
    "checkout",
    "compilation_in",
    "files_in",
    "files_of",
    "read_manifest",
    "verify",
]

log = logging.getLogger("perennial.models")

MANIFEST = "manifest.json"
COMPILED = "compiled.json"  # how the model was compiled, or why not
NOT_FINITE = "the model answered "  # how the error of a row begins whose answer is NaN or infinite
Answer = dict[str, JSON]


class PackageManifest(Struct, frozen=True, kw_only=True):
    """What a package is made of.

    Attributes:
        kind: The flavor (`models.flavors`).
        saved_as: The flavor's format.
        runs_code: Loading the native model, or the features' code, can run code that is in the package.
        files: path -> (digest, size in bytes).
    """

    format: Literal[1] = 1
    kind: str
    saved_as: str = "pickle"
    runs_code: bool = True
    files: dict[str, tuple[Digest, int]]

    def to_bytes(self) -> bytes:
        return canonical_json(cast(JSON, msgspec.to_builtins(self)))


class Code(Struct, frozen=True, kw_only=True):
    """Where the user's functions of a package are: `module` under `code/`, and the features function in it, if any."""

    module: str
    features: str | None = None


class Settings(Struct, frozen=True, kw_only=True):
    """How the model is asked (`model.json`): the flavor's options, and the user's functions.

    The other fields are the options of packages of before there were flavors.
    """

    options: dict[str, Any] | None = None
    code: Code | None = None
    call: str = "predict"
    probabilities: bool = False
    argmax: bool = False
    array: bool = False

    def told(self) -> dict[str, Any]:
        """The options for the flavor."""
        if self.options is not None:
            return self.options
        return {
            "call": self.call,
            "probabilities": self.probabilities,
            "argmax": self.argmax,
            "array": self.array,
        }


def read_manifest(data: bytes) -> PackageManifest:
    """Parse a manifest.

    Raises:
        Corrupt: Not a manifest, or one that names a file outside its folder.
    """
    try:
        manifest = msgspec.json.decode(data, type=ready(PackageManifest))
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


def checkout(digest: Digest, objects: ObjectStore, folder: Path) -> Path:
    """Copy a package into `folder`/`digest`, every byte checked; repeatable, and whole or not there.

    Its files are for this user to read, not to write, and it holds no others. Nothing is forced to disk, as the store
    has it all: what a power cut or a hand has damaged is copied anew.

    Raises:
        Corrupt: A file differs from its digest in the store too, or is not of the package. NotFound: It is not in the
            store.
    """
    target = folder / digest
    if (target / MANIFEST).is_file():
        try:
            _check_copy(target, digest)
        except Corrupt as damage:
            try:
                _copy(digest, objects, target)
            except NotFound:
                raise damage from None
            log.warning("%s (%s); it was copied again", damage.what, damage.where)
        _refuse_strangers(target)
    else:
        _copy(digest, objects, target)
    return target


def _check_copy(folder: Path, digest: Digest) -> None:
    verify(folder)
    if blake3((folder / MANIFEST).read_bytes()).hexdigest() != digest:
        raise Corrupt("the manifest of a model package differs from its digest", where=str(folder / MANIFEST))


def _copy(digest: Digest, objects: ObjectStore, target: Path) -> None:
    """Put the package in the place of what is there, if anything."""
    from perennial.store.outside import make_folders
    from perennial.store.packed import Copy
    from perennial.store.scratch import scratch_folder

    manifest = read_manifest(objects.get(digest))
    contents = {path: content for path, (content, _) in manifest.files.items()} | {MANIFEST: digest}
    with scratch_folder(target.parent) as private:
        new = private / "new"
        for parent in {(new / path).parent for path in contents}:
            make_folders(os.fsencode(parent))
        copies = [Copy(content, os.fsencode(new / path), 0o400) for path, content in contents.items()]
        objects.checkout_many(copies, is_new=True)
        _put_in_place(new, target, digest, aside=private)


def _put_in_place(new: Path, target: Path, digest: Digest, *, aside: Path) -> None:
    from perennial.store.files import LocalFiles

    while True:
        try:
            LocalFiles().rename(new, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        try:
            _check_copy(target, digest)
        except Corrupt:
            with contextlib.suppress(FileNotFoundError):  # another process does this, too
                LocalFiles().rename(target, aside / secrets.token_hex(4))
        else:
            return  # another process was quicker


def _refuse_strangers(folder: Path) -> None:
    """A file that nobody hashed must not be found beside the package's own, for example when its code is imported."""
    from perennial.store.files import LocalFiles

    named = {*read_manifest((folder / MANIFEST).read_bytes()).files, MANIFEST}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or (path.is_file() and name not in named):
            if path.parent.name == "__pycache__":
                LocalFiles().remove(path)  # byte code that Python kept of the package's sources
            else:
                raise Corrupt(
                    "there is a file among those of a model package that is not of it",
                    where=str(path),
                    remedy=f"remove the folder {folder}; it is made again from the store",
                )


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


def files_in(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """These files of a checked-out package, as far as it has them, each re-hashed.

    Raises:
        Corrupt: A file differs from its digest; names it.
    """
    manifest = read_manifest((folder / MANIFEST).read_bytes())
    found: dict[str, bytes] = {}
    for name in names:
        if name in manifest.files:
            found[name] = (folder / name).read_bytes()
            if blake3(found[name]).hexdigest() != manifest.files[name][0]:
                raise Corrupt(
                    "a file of a model package differs from its digest", where=str(folder / name),
                    remedy=f"remove the folder {folder}; it is made again from the store",
                )  # fmt: skip
    return found


def check_format(folder: Path, manifest: PackageManifest) -> None:
    """Refuse a package whose content is not of the format that it claims; nothing of it is run or parsed for this.

    Raises:
        Corrupt: An unknown toolkit or format, or a file that begins as no file of this format does.
    """
    from perennial.models.flavors import flavor_named

    found = flavor_named(manifest.kind).formats.get(manifest.saved_as)
    if found is None:
        raise Corrupt(
            f"a model package claims the format {manifest.saved_as!r}, which {manifest.kind} does not have",
            where=str(folder),
            remedy="do not use this package",
        )
    if found.runs_code and not manifest.runs_code:
        raise Corrupt(
            f"a model package claims to hold no code, but {manifest.saved_as} is code",
            where=str(folder),
            remedy="do not use this package",
        )
    path = folder / found.main
    if not path.exists():
        raise Corrupt("a model package has no model in it", where=str(path), remedy="do not use this package")
    if found.begins:
        with path.open("rb") as file:
            if not file.read(len(found.begins)) == found.begins:
                raise Corrupt(
                    f"the file claims to be {manifest.saved_as}, but does not begin like that",
                    where=str(path),
                    remedy="do not use this package",
                )


def compilation_in(folder: Path) -> Compilation | None:
    """How the model in this checked-out package was compiled; None in packages of before it was tried."""
    path = folder / COMPILED
    return msgspec.json.decode(path.read_bytes(), type=ready(Compilation)) if path.is_file() else None


class Predictor:
    """A loaded model: rows in, answers out, by the code that also ran in training. Not safe for concurrent use.

    Attributes:
        signature: What it takes and answers.
        preparation: From rows as requests have them to the model's columns.
        scorer: The model itself, in the form that serves.
    """

    def __init__(
        self,
        preparation: Preparation,
        scorer: Scorer,
        golden: Mapping[str, Any] | None = None,
        *,
        background: bytes | None = None,
    ):
        self.signature: Signature = preparation.signature
        self.preparation = preparation
        self.scorer = scorer
        self._golden = golden or {"records": [], "answers": []}
        self._background = background
        self._classes = list(self.signature.classes or scorer.classes or [])
        self._names = [str(label) for label in self._classes]

    @classmethod
    def load(cls, folder: Path, *, trusted: bool = False, native: bool = False) -> Predictor:
        """Load a checked-out package: its compiled form where that was proven, else the toolkit's own.

        Args:
            folder: As `checkout` made it.
            trusted: Code in this package may run in this process: somebody decided so about exactly these bytes.
            native: Load the toolkit's own model even where there is a compiled form.

        Raises:
            Corrupt: A file differs from its digest, or is not of the format that the package claims.
            Refused: Loading it would run code, and it is not trusted.
            UserCodeError: The features' module or the model does not load.
        """
        from perennial.models.flavors import flavor_named
        from perennial.models.preparation import Preparation

        files = verify(folder)
        manifest = read_manifest((folder / MANIFEST).read_bytes())
        check_format(folder, manifest)
        signature = msgspec.json.decode(files["signature.json"], type=ready(Signature))
        settings = msgspec.json.decode(files["model.json"], type=ready(Settings))
        native = native or (asks_for_accelerator(manifest.kind) and (trusted or not manifest.runs_code))
        compiled = None if native else compilation_in(folder)
        is_compiled = compiled is not None and compiled.form is not None and compiled.main is not None
        # A compiled model without features needs nothing of the user's: classes in the module are the pickle's.
        needs = settings.code if settings.code is not None and (settings.code.features or not is_compiled) else None
        if not trusted and (needs is not None or (manifest.runs_code and not is_compiled)):
            raise Refused(
                f"this model package holds code ({manifest.kind}, {manifest.saved_as}), and nobody has vouched for it",
                where=str(folder),
                remedy="a person who knows where it comes from approves this version: perennial approve NAME@VERSION",
            )
        function = _import_features(folder / "code", needs)
        if is_compiled:
            from perennial.models.compiling.scorer import load_compiled

            scorer = load_compiled(folder, signature, trusted=trusted)
        else:
            scorer = flavor_named(manifest.kind).load(folder, manifest.saved_as, settings.told(), signature)
            priors = read_priors(folder)
            scorer = scorer if priors is None else CorrectedScorer(scorer, priors)
        golden = json.loads(files["golden.json"])
        return cls(Preparation(signature, function), scorer, golden, background=files.get(BACKGROUND))

    def frame(self, records: Records) -> pl.DataFrame:
        """Checked records as the frame that `predict` takes."""
        from perennial.models.rows import to_frame

        return to_frame(self.signature, records)

    def answers(self, frame: pl.DataFrame) -> Answered:
        """Answers as arrays, for many rows at once; labels are values of the signature's classes.

        Raises:
            UserCodeError, Invalid: The features or the model fail on these rows.
        """
        import numpy as np

        from perennial.models.flavors.flavor import Answered

        found = self.scorer.answer(self.preparation.columns(frame))
        values, table = found.values, found.probabilities
        if values is None:
            assert table is not None
            labels = np.array(self._classes)
            values = labels[table.argmax(axis=1)]
        if len(values) != frame.height:
            raise Invalid(f"the model gave {len(values)} answers for {frame.height} rows")
        return Answered(values, table)

    def predict(self, frame: pl.DataFrame) -> list[Answer]:
        """One answer for each row: {"prediction": value}, with "probabilities" {class: p} from a classifier.

        A row on which features or model fail is answered {"prediction": None, "error": reason}; its neighbours are not
        touched by it. Rows that are too many for an accelerator's memory are answered in smaller batches.

        Raises:
            AcceleratorFailed: The device is lost, or too small for a single row; no row is to blame.
        """
        try:
            return self._batch(frame)
        except Exception as error:  # the user's code: recorded in the row that caused it
            said = failure_of_accelerator(error)
            if said is not None:
                if frame.height == 1 or not is_out_of_memory(said):
                    raise AcceleratorFailed(said) from error
                half = frame.height // 2
                return [*self.predict(frame[:half]), *self.predict(frame[half:])]
            if frame.height == 1:
                # Only what happened: where it stands on the disk of the service is nobody's business outside.
                told = error.what if isinstance(error, PerennialError) else str(error)
                return [{"prediction": None, "error": f"{type(error).__name__}: {told}"}]
            return [self.predict(frame[i])[0] for i in range(frame.height)]

    def golden_frame(self) -> pl.DataFrame:
        """The package's golden rows as `predict` takes them: some of the held-out rows of its training."""
        return self.frame(self._golden["records"])

    def background_frame(self) -> pl.DataFrame:
        """Training rows, as `predict` takes them, that stand for "not known" when answers are explained: at most 100.

        The golden rows in packages of before such rows were kept.

        Raises:
            Corrupt: What the package has as such is no rows of its model.
        """
        if self._background is None:
            return self.golden_frame()
        return read_background(self._background, self.signature)

    def check_golden(self) -> list[str]:
        """Answer the package's golden rows again; one sentence per difference, none when all are as recorded."""
        records, expected = self._golden["records"], self._golden["answers"]
        if not records:
            return []
        found = self.predict(self.frame(records))
        return [
            f"golden row {i}: answered {json.dumps(answer)}, recorded {json.dumps(wanted)}"
            for i, (answer, wanted) in enumerate(zip(found, expected, strict=True))
            if not same(answer, wanted, self.scorer.relative)
        ]

    def close(self) -> None:
        """Give back what the model holds: a process, a session."""
        self.scorer.close()

    def _batch(self, frame: pl.DataFrame) -> list[Answer]:
        found = self.scorer.answer(self.preparation.columns(frame))
        table = found.probabilities
        if found.values is not None:
            values = _listed(found.values)
        else:
            assert table is not None
            values = [self._classes[i] for i in table.argmax(axis=1).tolist()]
        if len(values) != frame.height:
            raise Invalid(f"the model gave {len(values)} answers for {frame.height} rows")
        if self.signature.task == "regression":
            values = [float(value) for value in values]
        answers = [_answer(value) for value in values]
        if table is not None:
            names = self._names
            for answer, row in zip(answers, table.tolist(), strict=True):
                answer["probabilities"] = dict(zip(names, row, strict=True))
        return answers


def same(a: JSON, b: JSON, relative: float) -> bool:
    """Equal answers: numbers within this share (probabilities within this much), everything else exactly."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key], relative) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        # The last bits depend on the machine's vector unit; a share of next to nothing is nothing.
        return a == b or abs(a - b) <= relative * max(abs(a), abs(b), relative * 1e4)
    return type(a) is type(b) and a == b


def _listed(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _answer(value: Any) -> Answer:
    if isinstance(value, float) and not abs(value) < float("inf"):
        return {"prediction": None, "error": f"{NOT_FINITE}{value}"}
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
