"""Read the folder of MLflow's file store (`mlruns`): a folder for each experiment and run, a file for each metric.

A file that cannot be read spoils its run, model or experiment alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from perennial.tracking.importing.carried import CarriedModelMetric, CarriedVersion
from perennial.tracking.importing.flat_yaml import Held, NotFlat, read
from perennial.tracking.importing.found import (
    Damaged,
    FoundExperiment,
    FoundLoggedModel,
    FoundModel,
    FoundRun,
    Points,
    Told,
    micros,
    number,
    points_of,
    whole,
)
from perennial.tracking.importing.mlflow_words import (
    STATUS,
    experiment_identity,
    lifecycle,
    logged_model_status,
    skip_registry,
    text,
)
from perennial.tracking.importing.places import Where
from perennial.tracking.inputs import CONTEXT_TAG
from perennial.tracking.run import Input, MetricPoint, ModelLink, spelled

__all__ = ["MlflowFolder"]

META = "meta.yaml"
NO_RUNS = frozenset({"datasets", "models", "tags", "traces", "assessments"})  # beside the runs of an experiment
Meta = dict[str, Held]
T = TypeVar("T")


class MlflowFolder:
    """A file store of MLflow. Reads only."""

    kind = "MLflow folder"

    def __init__(self, path: Path, artifacts: Path | None) -> None:
        self._root = path.resolve()
        self.source = str(self._root)
        self.told = Told()
        self._where = Where(self._root.parent, artifacts)
        self._folders: dict[str, Path] = {}

    def close(self) -> None:
        """Nothing is held open."""

    def experiments(self) -> list[FoundExperiment]:
        folders = [*_folders(self._root), *_folders(self._root / ".trash")]
        found: list[FoundExperiment] = []
        for folder in folders:
            if folder.name in ("models", ".trash"):
                continue
            one = self._tried(f"experiment {folder.name}", lambda folder=folder: self._experiment(folder))
            if one is not None:
                found.append(one)
                self._folders[one.key] = folder
            traces = len(_folders(folder / "traces"))
            self.told.skip("traces", "Perennial has no place for them", traces)
        return found

    def runs(self, experiments: Mapping[str, FoundExperiment]) -> Iterator[FoundRun]:
        for key, home in self._folders.items():
            for folder in _folders(home):
                if folder.name not in NO_RUNS:
                    run = self._tried(f"run {folder.name}", lambda folder=folder, key=key: self._run(folder, key))
                    if run is not None:
                        yield run

    def logged_models(self, experiments: Mapping[str, FoundExperiment]) -> Iterator[FoundLoggedModel]:
        for key, home in self._folders.items():
            for folder in _folders(home / "models"):
                model = self._tried(
                    f"logged model {folder.name}", lambda folder=folder, key=key: self._logged_model(folder, key)
                )
                if model is not None:
                    yield model

    def models(self) -> Iterator[FoundModel]:
        for folder in _folders(self._root / "models"):
            model = self._tried(f"model {folder.name}", lambda folder=folder: self._model(folder))
            taken = None if model is None else skip_registry(model, self.told)
            if taken is not None:
                yield taken

    def _tried(self, what: str, take: Callable[[], T]) -> T | None:
        try:
            return take()
        except (Damaged, NotFlat) as error:
            self.told.damaged(what, str(error), "mend the file")
        except (OSError, UnicodeDecodeError) as error:
            self.told.damaged(what, f"a file of it cannot be read: {error}", "mend the file")
        return None

    def _experiment(self, folder: Path) -> FoundExperiment:
        meta = _meta(folder)
        key, created = (
            _word(meta, "experiment_id") or folder.name,
            micros(meta.get("creation_time") or 0, "creation_time"),
        )
        uri = _word(meta, "artifact_location")
        return FoundExperiment(
            key=key,
            identity=experiment_identity(key, created, uri),
            name=_word(meta, "name"),
            uri=uri if self._where.is_remote(uri) else "",
            lifecycle=lifecycle(meta.get("lifecycle_stage")),
            created=created,
            updated=micros(meta.get("last_update_time") or meta.get("creation_time") or 0, "last_update_time"),
            tags=_texts(folder / "tags"),
        )

    def _run(self, folder: Path, experiment: str) -> FoundRun:
        meta = _meta(folder)
        run, uri, tags = _word(meta, "run_id") or folder.name, _word(meta, "artifact_uri"), _texts(folder / "tags")
        status = STATUS.get(_word(meta, "status").lower())
        if status is None:
            raise Damaged(f"its status is {meta.get('status')!r}")
        inputs, models = self._inputs(folder, experiment)
        metrics = {key: _points(path) for key, path in _files(folder / "metrics")}
        return FoundRun(
            id=run,
            identity=f"mlflow:{run}",
            experiment=experiment,
            name=_word(meta, "run_name") or tags.get("mlflow.runName", "") or _word(meta, "name") or run[:8],
            person=_word(meta, "user_id"),
            status=status,
            lifecycle=lifecycle(meta.get("lifecycle_stage")),
            git_commit=tags.get("mlflow.source.git.commit", "") or _word(meta, "source_version"),
            started=micros(meta.get("start_time") or 0, "start_time"),
            ended=None if meta.get("end_time") is None else micros(meta["end_time"], "end_time"),
            deleted=None if meta.get("deleted_time") is None else micros(meta["deleted_time"], "deleted_time"),
            params=_texts(folder / "params"),
            tags=tags,
            metrics=metrics,
            latest=[_latest(key, points) for key, points in metrics.items() if len(points.at)],
            inputs=inputs,
            models=models,
            uri=uri,
            files=[self._where.of(uri, run, else_in=folder / "artifacts")],
        )

    def _inputs(self, folder: Path, experiment: str) -> tuple[list[Input], list[ModelLink]]:
        inputs: list[Input] = []
        models: list[ModelLink] = []
        for role in ("inputs", "outputs"):
            for one in _folders(folder / role):
                meta = _meta(one)
                tags = meta.get("tags")
                labels = {key: text(value) for key, value in tags.items()} if isinstance(tags, dict) else {}
                source, kind = _word(meta, "source_id"), _word(meta, "source_type")
                if kind == "DATASET":
                    inputs.append(self._input(source, experiment, labels))
                elif kind in ("MODEL", "RUN_OUTPUT", "RUN_INPUT"):
                    model, step = _word(meta, "destination_id"), whole(meta.get("step") or 0, "a step")
                    models.append(ModelLink(model=model, role="input" if role == "inputs" else "output", step=step))
                else:
                    self.told.skip("inputs of other kinds", "Perennial knows datasets and models", example=kind)
        return inputs, models

    def _input(self, dataset: str, experiment: str, tags: dict[str, str]) -> Input:
        if "/" in dataset or dataset in ("", ".", ".."):
            raise Damaged(f"it names a dataset {dataset!r}")
        meta = _meta(self._folders[experiment] / "datasets" / dataset)
        return Input(
            name=_word(meta, "name"),
            digest=_word(meta, "digest"),
            source_type=_word(meta, "source_type"),
            source=_word(meta, "source"),
            schema=None if meta.get("schema") is None else _word(meta, "schema"),
            profile=None if meta.get("profile") is None else _word(meta, "profile"),
            context=tags.get(CONTEXT_TAG, ""),
            tags=dict(sorted(tags.items())),
        )

    def _logged_model(self, folder: Path, experiment: str) -> FoundLoggedModel:
        meta = _meta(folder)
        model, uri = _word(meta, "model_id") or folder.name, _word(meta, "artifact_location")
        updated = micros(meta.get("last_updated_timestamp") or 0, "last_updated_timestamp")
        metrics = [point for key, path in _files(folder / "metrics") for point in _model_points(key, path)]
        return FoundLoggedModel(
            id=model,
            identity=f"mlflow:{model}",
            experiment=experiment,
            name=_word(meta, "name"),
            type=_word(meta, "model_type") or None,
            status=logged_model_status(meta.get("status")),
            run=_word(meta, "source_run_id") or None,
            created=micros(meta.get("creation_timestamp") or 0, "creation_timestamp"),
            updated=updated,
            deleted=updated if lifecycle(meta.get("lifecycle_stage")) == "deleted" else None,
            params=_texts(folder / "params"),
            tags=_texts(folder / "tags"),
            metrics=metrics,
            uri=uri,
            files=[self._where.of(uri, model, else_in=folder / "artifacts")],
        )

    def _model(self, folder: Path) -> FoundModel:
        meta = _meta(folder)
        name, created = _word(meta, "name"), micros(meta.get("creation_timestamp") or 0, "creation_timestamp")
        aliases = meta.get("aliases")
        pointed = aliases.items() if isinstance(aliases, dict) else _texts(folder / "aliases").items()
        versions = [_version(one) for one in _folders(folder) if one.name.startswith("version-")]
        return FoundModel(
            identity=f"mlflow:{name}@{created}",
            name=name,
            description=_word(meta, "description"),
            created=created,
            updated=micros(meta.get("last_updated_timestamp") or 0, "last_updated_timestamp"),
            last=max((version.version for version in versions), default=0),
            tags=_texts(folder / "tags"),
            aliases={alias: whole(number, "an alias") for alias, number in sorted(pointed)},
            versions=versions,
        )


def _version(folder: Path) -> CarriedVersion:
    meta = _meta(folder)
    source = _word(meta, "source")
    named = source.removeprefix("models:/") if source.startswith("models:/m-") else ""
    return CarriedVersion(
        version=whole(meta.get("version"), "a version"),
        created=micros(meta.get("creation_timestamp") or 0, "creation_timestamp"),
        updated=micros(meta.get("last_updated_timestamp") or 0, "last_updated_timestamp"),
        description=_word(meta, "description"),
        stage=_word(meta, "current_stage") or "None",
        source=source,
        storage=_word(meta, "storage_location") or source,
        run_id=_word(meta, "run_id") or None,
        run_link=_word(meta, "run_link"),
        model_id=_word(meta, "model_id") or named or None,
        tags=_texts(folder / "tags"),
    )


def _points(path: Path) -> Points:
    """Lines of time, value, step; what a newer MLflow adds to them says on which dataset it was measured."""
    rows: list[tuple[object, object, object]] = []
    for line in _text(path).splitlines():
        words = line.split(" ")
        if len(words) < 2:
            raise Damaged(f"metric {path.name}: a line has no time and value: {line[:60]!r}")
        rows.append((words[0], words[2] if len(words) > 2 else "0", words[1]))
    try:
        return points_of([(int(str(at)), int(str(step)), value) for at, step, value in rows])
    except ValueError as error:
        raise Damaged(f"metric {path.name}: {error}") from error


def _latest(key: str, points: Points) -> MetricPoint:
    """The newest value as MLflow finds it: the last step, of it the last time, of it the highest value."""
    last = points.step == points.step.max()
    at = int(points.at[last].max())
    value = max(points.value[last & (points.at == at)].tolist())  # in the order of the file, as NaN has none
    return MetricPoint(key=key, value=spelled(value), step=int(points.step.max()), at=at)


def _model_points(key: str, path: Path) -> Iterator[CarriedModelMetric]:
    for line in _text(path).splitlines():
        words = line.split(" ")
        if len(words) < 4:
            raise Damaged(f"metric {key}: a line has no time, value, step and run: {line[:60]!r}")
        yield CarriedModelMetric(
            key=key,
            value=spelled(number(words[1], "a metric")),
            step=whole(words[2], "a step"),
            at=micros(words[0], "the time of a metric"),
            run=words[3],
            dataset=" ".join(words[4:-1]),
            digest=words[-1] if len(words) > 5 else "",
        )


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(Path(one.path) for one in os.scandir(folder) if one.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _files(folder: Path) -> list[tuple[str, Path]]:
    """The files below a folder, by their paths in it, which are keys."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted((path.relative_to(folder).as_posix(), path) for path in found)


def _texts(folder: Path) -> dict[str, str]:
    return {key: _text(path) for key, path in _files(folder)}


def _text(path: Path) -> str:
    return path.read_bytes().decode()


def _meta(folder: Path) -> Meta:
    try:
        return read(_text(folder / META))
    except NotFlat as error:
        raise NotFlat(f"{folder / META}: {error}") from error


def _word(meta: Meta, key: str) -> str:
    value = meta.get(key)
    if isinstance(value, dict | list):
        raise Damaged(f"{key} is not one value")
    return text(value)
