"""Take everything that a reader finds in a foreign store to the owner of the records, and say what became of it.

Files go into the object store first, in this process; then the records that name them go to the owner, many runs in one
call. Whoever is interrupted starts again: what is here already is recognised by its content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import msgspec

from perennial.errors import DataError, Invalid
from perennial.store.hashing import digest_of
from perennial.store.objects import ObjectStore
from perennial.tracking.importing.carried import (
    CarriedExperiment,
    CarriedLoggedModel,
    CarriedMetric,
    CarriedModel,
    CarriedRun,
    CarriedVersion,
    Outcome,
    Placed,
)
from perennial.tracking.importing.found import Damage, FoundExperiment, FoundLoggedModel, FoundRun, Points, Skip, Store
from perennial.tracking.importing.mlflow_words import KEPT
from perennial.tracking.importing.places import Listed, Place, files_below
from perennial.tracking.run import Artifact
from perennial.tracking.tree import checked

__all__ = ["Brought", "Takers", "bring"]

CALL_BYTES = 4 << 20  # of one call, about; the owner takes up to 16 MiB
POINT_BYTES = 33  # of a point in JSON: three numbers of 8 bytes in base64
ALONE_POINTS = 200_000  # of one run: more go in calls of their own
CALL_RUNS = 200


class _Imports(Protocol):
    def experiments(self, *, source: str, experiments: list[CarriedExperiment]) -> list[Placed]: ...
    def points(self, *, run_id: str, experiment: int, metrics: list[CarriedMetric]) -> None: ...
    def runs(self, *, runs: list[CarriedRun]) -> list[Outcome]: ...
    def logged_models(self, *, models: list[CarriedLoggedModel]) -> list[Outcome]: ...


class _Models(Protocol):
    def adopt(self, *, models: list[CarriedModel]) -> list[Outcome]: ...


@dataclass(frozen=True)
class Takers:
    """Where things go: the services of the owner, and the object store of this process."""

    imports: _Imports
    models: _Models
    objects: ObjectStore


@dataclass
class Brought:
    """What an import did. `counts` is of everything that was found whole, new here or not."""

    kind: str
    source: str
    dry_run: bool
    counts: dict[str, int] = field(default_factory=dict[str, int])
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    renamed: dict[str, str] = field(default_factory=dict[str, str])
    skipped: list[Skip] = field(default_factory=list[Skip])
    problems: list[Damage] = field(default_factory=list[Damage])

    def plain(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return asdict(self)

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number


def bring(store: Store, takers: Takers | None, say: Callable[[str], None] = lambda text: None) -> Brought:
    """Import everything; without `takers` only say what would be imported.

    Args:
        store: What to read.
        takers: Where it goes.
        say: Gets a line on what goes on.

    Raises:
        StoreError: The disk or database would not do it; what was taken before is there.
    """
    return _Bringing(store, takers, say).run()


class _Bringing:
    def __init__(self, store: Store, takers: Takers | None, say: Callable[[str], None]) -> None:
        self._store = store
        self._takers = takers
        self._say = say
        self._done = Brought(store.kind, store.source, dry_run=takers is None)
        self._placed: dict[str, Placed] = {}
        self._found: dict[str, FoundExperiment] = {}
        self._roots: list[tuple[str, str]] = []  # addresses there -> here, of what came along

    def run(self) -> Brought:
        self._experiments()
        runs = self._store.runs(self._found)
        self._send("runs", runs, self._run, lambda takers, many: takers.imports.runs(runs=many))
        models = iter(self._store.logged_models(self._found))
        take = self._logged_model
        self._send("logged models", models, take, lambda takers, many: takers.imports.logged_models(models=many))
        self._models()
        self._done.skipped = list(self._store.told.skips.values())
        self._done.problems = self._store.told.damage
        return self._done

    def _experiments(self) -> None:
        found = self._store.experiments()
        self._found = {one.key: one for one in found}
        self._done.count("experiments", len(found))
        if self._takers is None:
            return
        carried = [
            CarriedExperiment(
                identity=one.identity,
                name=one.name,
                artifact_location=one.uri,
                lifecycle=one.lifecycle,
                created=one.created,
                updated=one.updated,
                tags=one.tags,
            )
            for one in found
        ]
        placed: list[Placed] = []
        for start in range(0, len(carried), CALL_RUNS):
            some = carried[start : start + CALL_RUNS]
            placed += self._takers.imports.experiments(source=self._store.source, experiments=some)
        self._placed = {one.key: place for one, place in zip(found, placed, strict=True)}
        self._done.renamed = {
            one.name: place.name for one, place in zip(found, placed, strict=True) if one.name != place.name
        }

    def _send(
        self,
        what: str,
        found: Iterator[Any],
        carry: Callable[[Any], tuple[Any, int]],
        take: Callable[[Takers, list[Any]], list[Outcome]],
    ) -> None:
        """Carry things over in calls of a good size, each with the bytes that it names held until it is answered."""
        done = 0
        while True:
            waiting: list[Any] = []
            size = 0
            with self._held():
                for one in found:
                    carried, its_size = carry(one)
                    waiting.append(carried)
                    size += its_size
                    done += 1
                    if size > CALL_BYTES or len(waiting) >= CALL_RUNS:
                        break
                if not waiting:
                    return
                if self._takers is not None:
                    self._note(what, take(self._takers, waiting))
            self._say(f"importing {what}: {done:,}")

    def _held(self) -> AbstractContextManager[None]:
        return nullcontext() if self._takers is None else self._takers.objects.until_committed()

    def _note(self, what: str, outcomes: Sequence[Outcome]) -> None:
        counted = self._done.outcomes.setdefault(what, {})
        for outcome in outcomes:
            counted[outcome.what] = counted.get(outcome.what, 0) + 1
            if outcome.what == "refused":
                self._store.told.damaged(f"{what.removesuffix('s')} {outcome.id}", outcome.why, outcome.remedy)

    def _run(self, run: FoundRun) -> tuple[CarriedRun, int]:
        home = self._placed.get(run.experiment)
        tags = dict(run.tags)
        files = self._files(f"run {run.id}", run.files, run.uri, self._found[run.experiment], tags)
        total = sum(len(points.at) for points in run.metrics.values())
        self._done.count("runs")
        for name, number in (("params", len(run.params)), ("tags", len(run.tags)), ("metric points", total)):
            self._done.count(name, number)
        self._done.count("metrics", len(run.metrics))
        if home is not None and run.uri:
            self._roots.append((run.uri, f"{home.artifact_uri.rstrip('/')}/{run.id}/artifacts"))
        sent = self._points_alone(run, home) if total > ALONE_POINTS and self._takers is not None else ""
        carried = CarriedRun(
            id=run.id,
            identity=run.identity,
            experiment=0 if home is None else home.id,
            name=run.name,
            person=run.person,
            status=run.status,
            lifecycle=run.lifecycle,
            git_commit=run.git_commit,
            source=self._store.source,
            started=run.started,
            ended=run.ended,
            deleted=run.deleted,
            params=run.params,
            tags=tags,
            metrics=[] if sent or self._takers is None else [_carried(*named) for named in run.metrics.items()],
            latest=run.latest,
            sent=sent,
            inputs=run.inputs,
            models=run.models,
            files=files,
        )
        texts = sum(len(key) + len(value) for key, value in (*run.params.items(), *tags.items()))
        texts += sum(len(used.schema or "") + len(used.profile or "") + len(used.source) for used in run.inputs)
        return carried, (0 if sent else total * POINT_BYTES) + 2 * texts + 200 * len(files) + 120 * len(run.latest)

    def _points_alone(self, run: FoundRun, home: Placed | None) -> str:
        """Send the points of a run before it, so that no call is too large; names them all."""
        assert self._takers is not None
        names: list[str] = []
        some: list[CarriedMetric] = []
        room = ALONE_POINTS

        def flush() -> None:
            assert self._takers is not None
            number = 0 if home is None else home.id
            self._takers.imports.points(run_id=run.id, experiment=number, metrics=some)
            some.clear()

        for key, points in run.metrics.items():
            for start in range(0, len(points.at), ALONE_POINTS):
                end = start + ALONE_POINTS
                part = _carried(key, Points(points.at[start:end], points.step[start:end], points.value[start:end]))
                names.append(digest_of(msgspec.json.encode(part)))
                length = len(part.at) // 8
                if (length > room or any(one.key == key for one in some)) and some:
                    flush()
                    room = ALONE_POINTS
                some.append(part)
                room -= length
                self._say(f"importing run {run.id}: {key}")
        if some:
            flush()
        return digest_of(" ".join(names).encode())

    def _logged_model(self, model: FoundLoggedModel) -> tuple[CarriedLoggedModel, int]:
        home = self._placed.get(model.experiment)
        tags = dict(model.tags)
        files = self._files(f"logged model {model.id}", model.files, model.uri, self._found[model.experiment], tags)
        self._done.count("logged models")
        if home is not None and model.uri:
            self._roots.append((model.uri, f"{home.artifact_uri.rstrip('/')}/models/{model.id}/artifacts"))
        carried = CarriedLoggedModel(
            id=model.id,
            identity=model.identity,
            experiment=0 if home is None else home.id,
            name=model.name,
            type=model.type,
            status=model.status,
            run=model.run,
            created=model.created,
            updated=model.updated,
            deleted=model.deleted,
            params=model.params,
            tags=tags,
            metrics=model.metrics,
            files=files,
        )
        texts = sum(len(key) + len(value) for key, value in (*model.params.items(), *tags.items()))
        return carried, 2 * texts + 200 * (len(files) + len(model.metrics))

    def _models(self) -> None:
        roots = dict(self._roots)
        for model in self._store.models():
            self._done.count("registered models")
            self._done.count("model versions", len(model.versions))
            versions = [self._version(model.name, version, roots) for version in model.versions]
            if self._takers is None:
                continue
            carried = CarriedModel(
                identity=model.identity,
                name=model.name,
                source=self._store.source,
                description=model.description,
                created=model.created,
                updated=model.updated,
                last=model.last,
                tags=model.tags,
                aliases=model.aliases,
                versions=versions,
            )
            self._note("registered models", self._takers.models.adopt(models=[carried]))

    def _version(self, name: str, version: CarriedVersion, roots: Mapping[str, str]) -> CarriedVersion:
        storage, source = _moved(version.storage, roots), _moved(version.source, roots)
        came = storage != version.storage or storage.startswith(("runs:/", "models:/"))
        if self._takers is not None and not came:
            self._store.told.skip(
                "files of model versions that lie elsewhere",
                "the version keeps the address; it is none of a run or logged model that came along",
                example=f"{name} version {version.version}: {version.storage}",
            )
        return msgspec.structs.replace(version, storage=storage, source=source)

    def _files(
        self, owner: str, places: Sequence[Place], uri: str, home: FoundExperiment, tags: dict[str, str]
    ) -> list[Artifact]:
        """Put the files of a run or model into the object store; what cannot be is told."""
        files: list[Artifact] = []
        for place in places:
            if place.kind == "remote":
                self._store.told.skip(
                    "files in stores of their own (s3, gs, ...)",
                    "they stay there, and clients go on reading them there with their own credentials",
                    example=f"{owner}: {place.why}",
                )
                if not home.uri or not uri.startswith(f"{home.uri.rstrip('/')}/"):
                    tags[f"{KEPT}.artifact_uri"] = uri
            elif place.kind == "missing":
                self._store.told.skip(
                    "artifact folders that were not found",
                    "name the folder where they lie with --artifacts",
                    example=f"{owner}: {place.why}",
                )
                tags[f"{KEPT}.artifact_uri"] = uri
            elif place.folder is not None and home.uri:
                self._store.told.skip(
                    "local files of runs whose experiment keeps its files elsewhere",
                    "an experiment has one place for its files",
                    example=f"{owner}: {place.folder}",
                )
            elif place.folder is not None:
                files += self._stored(owner, place)
        self._done.count("artifacts", len(files))
        self._done.count("artifact bytes", sum(file.size for file in files))
        return files

    def _stored(self, owner: str, place: Place) -> list[Artifact]:
        assert place.folder is not None
        taken: list[tuple[str, Listed]] = []
        for listed in files_below(place.folder):
            path = f"{place.below}{listed.path}"
            why = listed.refused or _unkept(path)
            if why == "a link":
                self._store.told.skip(
                    "links among artifacts", "they may lead out of the run", example=f"{owner}: {path}"
                )
            elif why:
                self._store.told.damaged(f"artifact {path} of {owner}", why, "rename or mend it, then import again")
            else:
                taken.append((path, listed))
        if self._takers is None:
            return [Artifact(path=path, digest="", size=listed.file.stat().st_size) for path, listed in taken]
        by_file = {bytes(listed.file): path for path, listed in taken}
        files: list[Artifact] = []
        try:
            for stored in self._takers.objects.put_files(listed.file for _, listed in taken):
                path = by_file[stored.path]
                files.append(Artifact(path=path, digest=stored.digest, size=stored.size))
        except DataError as error:  # the others are stored and told already
            self._store.told.damaged(f"artifacts of {owner}", f"{error.what}: {error.where}", error.remedy)
        return files


def _carried(key: str, points: Points) -> CarriedMetric:
    at, step, value = (column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes() for column in points)
    return CarriedMetric(key=key, at=at, step=step, value=value)


def _moved(address: str, roots: Mapping[str, str]) -> str:
    """An address below the root of something that came along, as it is here."""
    folders = address.split("/")
    for count in range(len(folders), 0, -1):
        root = roots.get("/".join(folders[:count]))
        if root is not None:
            return "/".join([root, *folders[count:]])
    return address


def _unkept(path: str) -> str:
    """Why a file of this name cannot be kept; empty when it can."""
    try:
        checked(f"0/{'0' * 32}/artifacts/{path}")
    except Invalid as error:
        return f"{error.what}: {error.where}"
    return ""
