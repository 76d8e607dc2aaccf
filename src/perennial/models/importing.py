"""Bring in a model that was fitted elsewhere: a file of its toolkit, a folder of MLflow's, or a package of our own.

A form that holds no code is read here and becomes a package like that of a loop. What is code is only copied, hashed
and kept apart, unless the person who names it vouches for it (`trusted`); then it is asked in a process of its own. A
pickle is the exception of old: to name one is to vouch for it, so it is read in the command of that person. None of
this happens in a server. The package's provenance says "imported"; whether such a version may answer, approval decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import polars as pl
import pyarrow as pa

from perennial.data.column_types import canonical
from perennial.data.frames import to_arrow
from perennial.errors import DataError, Invalid, TooLarge
from perennial.models.archive import Limits, is_archive, unpack
from perennial.models.build import build
from perennial.models.facts.verdict import Verdict
from perennial.models.inferring import preparation_of
from perennial.models.keeping import keep
from perennial.models.mlflow_folder import MLMODEL, MLflowFolder, Takes, read_folder
from perennial.models.mlflow_models import own_model
from perennial.models.package import MANIFEST, check_format, read_manifest, verify
from perennial.models.reading import read_file
from perennial.models.rows import polars_type
from perennial.models.sandbox import Rules
from perennial.models.scanning import scan
from perennial.models.signature import Field, Signature, Task
from perennial.store.decoding import ready
from perennial.store.scratch import scratch_folder, scratch_of_user
from perennial.types import JSON, Digest

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["Asked", "Imported", "import_model"]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A stored package, and what is to be known about where it came from: verdicts that refuse nothing."""

    package: Digest
    verdicts: list[Verdict] = field(default_factory=list[Verdict])


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a model is brought in.

    Attributes:
        sample: A frame of rows as requests will have them, with or without the target; None where the source has some.
        target: Column of the sample that holds the truth, if any.
        task: Guessed from the target, or from the model's answers, when None.
        key: Column that names the entity.
        time: Column of event time.
        trusted: The person vouches for code in it.
        limits: Of an archive.
        rules: How a process that loads code is confined.
    """

    sample: object = None
    target: str | None = None
    task: Task | None = None
    key: str | None = None
    time: str | None = None
    trusted: bool = False
    limits: Limits = field(default_factory=Limits)
    rules: Rules = field(default_factory=Rules)


def import_model(
    source: Path, asked: Asked, *, objects: ObjectStore, environment: str, provenance: Mapping[str, JSON]
) -> Imported:
    """Store a package of the model in a file or folder.

    Args:
        source: A file of a toolkit's format (see `reading`), a folder that MLflow saved or that `export` wrote, or an
            archive of such a folder.
        asked: How.
        objects: Where the package goes.
        environment: The installed distributions, as text.
        provenance: Where the model comes from; "origin" becomes "imported".

    Raises:
        DataError, Invalid, Refused, Corrupt: It is none of these, does not load, does not answer the sample, or is code
            that nobody vouched for; says why.
    """
    with scratch_folder(scratch_of_user()) as scratch:
        if is_archive(source) and (source.suffix.lower() != ".zip" or not _is_mojo(source)) and _is_packed(source):
            names = unpack(source, scratch / "unpacked", limits=asked.limits)
            source = _top(scratch / "unpacked", names, source)
        bring = _Bringing(
            asked=asked, objects=objects, environment=environment, provenance=provenance, scratch=scratch / "asked"
        )
        if not source.is_dir():
            return bring.file(source)
        if (source / MANIFEST).is_file():
            return bring.package(source)
        if (source / MLMODEL).is_file():
            return bring.mlflow(source)
    raise DataError(
        f"there is neither {MLMODEL} nor {MANIFEST} in this folder" if source.is_dir() else "there is no such file",
        where=str(source),
        remedy="name a model's file, or a folder that MLflow or `perennial models export` wrote",
    )


@dataclass(frozen=True, kw_only=True)
class _Bringing:
    """One import under way."""

    asked: Asked
    objects: ObjectStore
    environment: str
    provenance: Mapping[str, JSON]
    scratch: Path

    def file(self, path: Path) -> Imported:
        warnings = scan({path.name: path}) if path.is_file() else []
        model = read_file(path, trusted=self.asked.trusted)
        return self._built(model, None, None, warnings)

    def mlflow(self, path: Path) -> Imported:
        files = _files_in(path, self.asked.limits)
        folder = read_folder(path)
        warnings = scan(files)
        sample = _sample(self.asked, folder)
        model = own_model(folder, may_run_code=self.asked.trusted)
        if model is not None:
            return self._built(model, folder, sample, warnings)
        package = keep(
            folder,
            files,
            sample,
            objects=self.objects,
            scratch=self.scratch,
            environment=self.environment,
            provenance=self.provenance,
            target=self.asked.target,
            key=self.asked.key,
            trusted=self.asked.trusted,
            rules=self.asked.rules,
        )
        return Imported(package=package, verdicts=_verdicts("mlflow", "mlflow", folder.toolkit, True, warnings))

    def package(self, path: Path) -> Imported:
        """A package of ours, as `export` wrote it: the same bytes, so the same digest."""
        _files_in(path, self.asked.limits)
        contents = verify(path)
        data = (path / MANIFEST).read_bytes()
        manifest = read_manifest(data)
        check_format(path, manifest)
        msgspec.json.decode(contents["signature.json"], type=ready(Signature))
        self.objects.put_many(contents.values())
        warnings = scan({name: path / name for name in contents})
        return Imported(
            package=self.objects.put(data),
            verdicts=_verdicts(manifest.kind, manifest.saved_as, manifest.kind, manifest.runs_code, warnings),
        )

    def _built(self, model: Any, folder: MLflowFolder | None, sample: pa.Table | None, warnings: list[str]) -> Imported:
        asked = self.asked
        table = sample if sample is not None else _given(asked)
        takes = folder.takes if folder is not None else None
        made = preparation_of(model, table, takes, target=asked.target, task=asked.task, key=asked.key, time=asked.time)
        package = build(
            model=model,
            preparation=made,
            train=table,
            held_out=table.slice(0, 0),
            objects=self.objects,
            provenance={**self.provenance, "origin": "imported"},
            environment=self.environment,
            is_truth_known=asked.target is not None,
        )
        manifest = read_manifest(self.objects.get(package))
        toolkit = folder.toolkit if folder is not None else manifest.kind
        return Imported(
            package=package, verdicts=_verdicts(manifest.kind, manifest.saved_as, toolkit, manifest.runs_code, warnings)
        )


def _verdicts(kind: str, saved_as: str, toolkit: str, runs_code: bool, warnings: list[str]) -> list[Verdict]:
    code = "loading it runs code, so it answers only after a person approved it" if runs_code else "it holds no code"
    found = [
        Verdict(
            kind="format",
            sentence="The format is known, and the content is of it",
            passed=True,
            says=f"{toolkit}, kept as {kind} ({saved_as}): {code}",
            evidence={"kind": kind, "format": saved_as, "runs_code": runs_code},
        )
    ]
    says = "; ".join(warnings[:5]) + (f"; and {len(warnings) - 5} more" if len(warnings) > 5 else "")
    return [
        *found,
        Verdict(
            kind="scan",
            sentence="Nothing in its files looks like code (a look, no proof)",
            passed=None,
            says=says or "nothing was found",
            evidence={"warnings": warnings[:100]},
        ),
    ]


def _is_mojo(path: Path) -> bool:
    """A zip with model.ini at its top is h2o's own form, and a file."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as opened:
            return "model.ini" in opened.namelist()
    except zipfile.BadZipFile as error:
        raise Invalid(f"the archive is damaged: {error}", where=str(path), remedy="fetch it again") from error


def _is_packed(path: Path) -> bool:
    """Whether a file is an archive of a folder: .skops, .keras, .rds and their like are zips and gzips, too."""
    name = path.name.lower()
    return name.endswith((".zip", ".tar", ".tar.gz", ".tgz"))


def _top(folder: Path, names: list[str], archive: Path) -> Path:
    """The folder of the model in what was unpacked: its top, or the only folder in it."""
    for name in (MANIFEST, MLMODEL):
        if name in names:
            return folder
        inner = [Path(path).parent for path in names if path.endswith(f"/{name}")]
        if len(inner) == 1 or (inner and name == MANIFEST):
            return folder / min(inner, key=lambda path: len(path.parts))
    raise DataError(
        f"there is neither {MLMODEL} nor {MANIFEST} in this archive",
        where=str(archive),
        remedy="pack a folder that MLflow or `perennial models export` wrote",
    )


def _files_in(folder: Path, limits: Limits) -> dict[str, Path]:
    """The files of a folder by name; links and what is no file are refused, as they are in an archive."""
    found: dict[str, Path] = {}
    size = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Invalid(f"{name!r} is a link or a device", where=str(folder), remedy="name a folder of plain files")
        if path.is_file() and "__pycache__" not in path.parts:
            found[name] = path
            size += path.stat().st_size
        if len(found) > limits.count or size > limits.size:
            raise TooLarge(
                f"the folder holds more than {limits.count} files or {limits.size} bytes",
                where=str(folder),
                remedy="raise the limit (max_model_bytes) if it is a model",
            )
    return found


def _sample(asked: Asked, folder: MLflowFolder) -> pa.Table | None:
    """The rows of the person, else of the folder, with the types that the folder's signature gives its columns."""
    takes = folder.takes
    if asked.sample is not None:
        table = _given(asked)
    elif takes is not None and (example := folder.example()) is not None:
        table = pa.table(example) if not takes.tensors else None
        if table is None:
            columns = [pl.Series(name, values) for name, values in example.items()]
            table = pl.DataFrame(columns).to_arrow()
        table = canonical(table)
    else:
        return None
    return table if takes is None else _typed(table, takes)


def _typed(table: pa.Table, takes: Takes) -> pa.Table:
    frame = cast(pl.DataFrame, pl.from_arrow(table))
    missing = [field.name for field in takes.fields if field.name not in frame.columns]
    if missing:
        raise DataError(
            f"the model takes a column {missing[0]!r} that the sample lacks",
            remedy="give a sample with all its columns",
        )
    try:
        exprs = [_cast(field, frame.schema[field.name]) for field in takes.fields]
        return canonical(frame.with_columns(exprs).to_arrow())
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"the sample is not of the types that the model takes: {str(error).splitlines()[0]}",
            remedy="give a sample with the types of its signature",
        ) from error


def _cast(field: Field, present: Any) -> pl.Expr:
    column = pl.col(field.name)
    if field.type == "datetime" and present == pl.String:
        return column.str.to_datetime(time_unit="us", time_zone="UTC")
    return column.cast(polars_type(field))


def _given(asked: Asked) -> pa.Table:
    if asked.sample is None:
        raise DataError(
            "nothing tells what the model's rows look like", remedy="give some rows of its input: --sample ROWS.parquet"
        )
    table = canonical(to_arrow(asked.sample))
    if not table.num_rows:
        raise DataError("the sample has no rows", remedy="give at least a few typical rows")
    for column in (asked.target, asked.key, asked.time):
        if column is not None and column not in table.column_names:
            raise DataError(
                f"the sample has no column {column!r}", remedy=f"name one of {', '.join(table.column_names)}"
            )
    return table
