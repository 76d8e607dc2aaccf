"""`perennial models import|export|verify`: bring a model in, take one out, and look whether it is as it was."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from perennial.cli.names import model_or_alias
from perennial.cli.output import counted, emit, here, progress
from perennial.cli.verbs import Verbs

if TYPE_CHECKING:
    from perennial.registry.version import ModelVersion
    from perennial.types import Digest
    from perennial.workspace import Workspace

__all__ = ["add", "bring_in", "export", "verify"]


def add(verbs: Verbs) -> None:
    """The three verbs."""
    bringing = verbs.add("import", run_import, "bring in a model that was fitted elsewhere, as a candidate")
    bringing.add_argument(
        "source",
        metavar="SOURCE",
        help="a model's file, a folder of MLflow's or of `export`, an archive, or runs:/RUN/PATH, models:/NAME/3",
    )
    bringing.add_argument("--name", required=True, help="the model's name here")
    import_options(bringing)
    taking = verbs.add("export", run_export, "write a version's package to a folder or a .zip, with its card")
    taking.add_argument("model", metavar="NAME[@VERSION]", help="a number or an alias; the newest without one")
    taking.add_argument("target", metavar="FOLDER|FILE.zip", type=Path, help="what does not exist yet")
    checking = verbs.add("verify", run_verify, "hash every file again, and ask the model its golden rows again")
    checking.add_argument("model", metavar="NAME[@VERSION]", help="a number or an alias; the newest without one")


def import_options(parser: argparse.ArgumentParser) -> None:
    """What `models import` and `deploy FILE` ask alike."""
    parser.add_argument("--sample", type=Path, help="a table of some input rows (Parquet, CSV or JSON lines)")
    parser.add_argument("--target", help="the sample's column with the true values, if it has one")
    parser.add_argument("--key", help="the sample's column that names the entity, if it has one")
    parser.add_argument("--task", choices=("regression", "classification"), help="guessed from the target or answers")
    parser.add_argument(
        "--trust-code", action="store_true", help="you know where it comes from: code in it may run now, confined"
    )


def run_import(options: argparse.Namespace) -> int:
    import msgspec

    version = bring_in(options, options.source)
    line = f"{version.name} version {version.version} is {version.state}, to be approved by a person:"
    told = [f"  {verdict.kind}: {verdict.says}" for verdict in version.verdicts]
    emit(
        options,
        msgspec.to_builtins(version),
        [*told, line, f"  perennial approve {version.name}@{version.version}"],
    )
    return 0


def bring_in(options: argparse.Namespace, source: str) -> ModelVersion:
    """Import what `source` names, as the options say, and register it.

    Raises:
        DataError, Invalid, Refused, Corrupt, NotFound: It cannot be brought in; says why.
    """
    from perennial.api.connect import open
    from perennial.cli.tables import read_table
    from perennial.models.archive import Limits
    from perennial.models.importing import Asked, import_model
    from perennial.models.policy import allow_types
    from perennial.models.sandbox import rules_of
    from perennial.registry.fetching import fetch, is_address
    from perennial.store.actor import system_user
    from perennial.store.scratch import scratch_folder, scratch_of_user
    from perennial.tracking.environment import environment_text

    with (
        progress("reading the model"),
        open(options.home, origin="cli") as ws,
        scratch_folder(scratch_of_user()) as tmp,
    ):
        rules = rules_of(ws.settings)
        allow_types(rules.types)
        limits = Limits(size=ws.settings.max_model_bytes)
        asked = Asked(
            sample=None if options.sample is None else read_table(options.sample),
            target=options.target,
            key=options.key,
            task=options.task,
            trusted=options.trust_code,
            limits=limits,
            rules=rules,
        )
        path = (
            fetch(ws, source, tmp / "fetched", read=_reader(ws), limits=limits) if is_address(source) else Path(source)
        )
        shown = source if is_address(source) else path.name
        imported = import_model(
            path,
            asked,
            objects=ws.objects,
            environment=environment_text(),
            provenance={"file": shown, "person": system_user()},
        )
        return ws.models.register(
            name=options.name,
            package=imported.package,
            origin="imported",
            verdicts=imported.verdicts,
            reason=f"brought in from {shown}",
        )


def run_export(options: argparse.Namespace) -> int:
    from perennial.api.connect import open

    with open(options.home, origin="cli") as ws:
        version = ws.models.get(**cast("dict[str, Any]", model_or_alias(options.model)))
        files = export(ws, version, options.target)
    told = {"name": version.name, "version": version.version, "target": str(options.target.absolute()), "files": files}
    where = here(str(options.target))
    emit(options, told, [f"{version.name} version {version.version} is in {where}: {counted(len(files), 'file')}"])
    return 0


def export(ws: Workspace, version: ModelVersion, target: Path) -> list[str]:
    """Write the package of a version, with its card beside it; the names of the files.

    Raises:
        Invalid: The target exists. Refused: The version has no package. Corrupt: A file is damaged.
    """
    from perennial.errors import Invalid
    from perennial.registry.version import package_of
    from perennial.store.files import LocalFiles

    if target.exists():
        raise Invalid(
            "this exists already", where=str(target), remedy="name a new folder, or a new file that ends in .zip"
        )
    package = package_of(version)
    files = LocalFiles()
    target = target.absolute()
    names: list[str] = []

    def contents() -> Iterator[tuple[str, bytes]]:
        for name, data in _contents(ws, version, package):
            names.append(name)
            yield name, data

    if target.suffix.lower() == ".zip":
        files.mkdirs(target.parent)
        files.write_atomic(target, _zipped(contents()))
        return names
    for name, data in contents():
        files.mkdirs((target / name).parent)
        files.write_atomic(target / name, data)
    return names


def run_verify(options: argparse.Namespace) -> int:
    from perennial.api.connect import open

    with progress("asking the model again"), open(options.home, origin="cli") as ws:
        version = ws.models.get(**cast("dict[str, Any]", model_or_alias(options.model)))
        differences, unasked = verify(ws, version)
    told = {"name": version.name, "version": version.version, "differences": differences, "not_asked": unasked}
    lines = differences or [
        f"{version.name} version {version.version} is as it was made"
        + (", but it was not asked" if unasked else ", and answers as it did")
    ]
    emit(options, told, [*lines, *([f"  {unasked}"] if unasked else [])])
    return 1 if differences else 0


def verify(ws: Workspace, version: ModelVersion) -> tuple[list[str], str | None]:
    """What is not as it was made, a sentence each; and why the model was not asked, if it was not.

    Raises:
        Refused: The version has no package.
    """
    from perennial.errors import Corrupt, NotFound, Refused, UserCodeError
    from perennial.models.asking import ask
    from perennial.models.package import check_format, checkout, read_manifest
    from perennial.models.sandbox import rules_of
    from perennial.registry.version import package_of
    from perennial.store.scratch import scratch_folder, scratch_of_user

    package = package_of(version)
    rules = rules_of(ws.settings)
    damaged: list[str] = []
    try:
        files = read_manifest(ws.objects.get(package)).files
    except (Corrupt, NotFound) as error:
        return [f"the manifest: {error.what}"], None
    for name, (digest, _) in files.items():
        try:
            for _block in ws.objects.blocks(digest):
                pass
        except (Corrupt, NotFound) as error:
            damaged.append(f"{name}: {error.what}")
    if damaged:
        return damaged, None
    with scratch_folder(scratch_of_user()) as scratch:
        folder = checkout(package, ws.objects, scratch)
        try:
            check_format(folder, read_manifest(ws.objects.get(package)))
            return ask(folder, None, trusted=ws.models.is_trusted(package=package), rules=rules).differences, None
        except Refused as error:
            return [], error.what
        except (Corrupt, UserCodeError) as error:
            return [error.what], None


def _contents(ws: Workspace, version: ModelVersion, package: Digest) -> Iterator[tuple[str, bytes]]:
    import msgspec

    from perennial.models.package import MANIFEST, read_manifest
    from perennial.registry.card.html import html

    card = ws.cards.get(name=version.name, version=version.version)
    yield "card.json", msgspec.json.format(msgspec.json.encode(card))
    yield "card.html", html(card).encode()
    data = ws.objects.get(package)
    for name, (digest, _) in read_manifest(data).files.items():
        if name not in ("card.json", "card.html"):
            yield name, ws.objects.get(digest)
    yield MANIFEST, data  # last: a folder that has it is whole


def _zipped(contents: Iterator[tuple[str, bytes]]) -> Iterator[bytes]:
    """A zip archive in pieces; the same bytes for the same files."""
    import zipfile

    made = _Pieces()
    # It wants nothing but these two methods of what it writes to.
    with zipfile.ZipFile(cast("IO[bytes]", made), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
            yield made.taken()
    yield made.taken()


class _Pieces:
    """What a zip archive is written to; it cannot go back, so sizes stand behind each file."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def taken(self) -> bytes:
        data = bytes(self._held)
        self._held.clear()
        return data


def _reader(ws: Workspace) -> Any:
    """How the bytes of a logged file are read: from the object store here, or from the bucket of the settings."""
    from perennial.tracking.bytes import open_bytes

    local = open_bytes("", ws.objects, ws.folder)
    remote = open_bytes(ws.settings.artifacts, ws.objects, ws.folder) if ws.settings.artifacts else local
    return lambda file: (remote if file.elsewhere else local).read(file.digest, file.size)
