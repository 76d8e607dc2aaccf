"""Read runs that W&B recorded offline: folders `offline-run-*`, each with a log and the files of the run.

A project becomes an experiment, the configuration parameters, the history metrics by `_step` and `_timestamp`, what
only the summary has a last point or a tag, and the folder `files` the artifacts. A run that was resumed has several
folders, which are put together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perennial.store.hashing import digest_of
from perennial.tracking.importing.found import (
    Damaged,
    FoundExperiment,
    FoundLoggedModel,
    FoundModel,
    FoundRun,
    Points,
    Told,
)
from perennial.tracking.importing.places import Place
from perennial.tracking.importing.wandb_log import Message, messages
from perennial.tracking.run import RunStatus

__all__ = ["WandbOffline", "wandb_logs"]

# Numbers of fields: of a record, then of what it holds.
_HISTORY, _SUMMARY, _CONFIG, _STATS, _ARTIFACT, _CONSOLE, _RUN, _EXIT, _ENVIRONMENT = 2, 3, 5, 7, 8, 13, 17, 18, 26
_KEY, _NESTED, _JSON = 1, 2, 16
_OWN = frozenset({"_step", "_timestamp", "_runtime", "_wandb"})
_NUMBERS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
MAX_STEP = 2**63 - 1
MAX_KEY = 500  # characters


@dataclass
class _Run:
    """What the logs of one run say."""

    id: str = ""
    entity: str = ""
    project: str = ""
    name: str = ""
    started: float = 0.0
    runtime: float = 0.0
    exit_code: int | None = None
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    summary: dict[str, Any] = field(default_factory=dict[str, Any])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    person: str = ""
    commit: str = ""
    points: dict[str, list[tuple[int, int, float]]] = field(default_factory=dict[str, list[tuple[int, int, float]]])
    last: tuple[int, int] = (0, 0)  # time and step of the newest point
    files: list[Path] = field(default_factory=list[Path])
    skipped: set[str] = field(default_factory=set[str])


def wandb_logs(path: Path) -> list[Path]:
    """The logs that a path holds: one file, a run's folder, a folder of those, or one above it; none elsewhere."""
    if path.is_file():
        return [path] if path.suffix == ".wandb" else []
    found = [*path.glob("*.wandb"), *path.glob("*run-*/*.wandb"), *path.glob("wandb/*run-*/*.wandb")]
    return sorted({log.resolve() for log in found if not log.parent.is_symlink()})


class WandbOffline:
    """Offline runs of W&B. Reads only."""

    kind = "W&B offline runs"

    def __init__(self, path: Path, logs: Sequence[Path]) -> None:
        self.source = str(path.resolve())
        self.told = Told()
        self._logs = logs
        self._runs: dict[tuple[str, str, str], list[Path]] = {}

    def close(self) -> None:
        """Nothing is held open."""

    def experiments(self) -> list[FoundExperiment]:
        found: dict[str, FoundExperiment] = {}
        for log in self._logs:  # in the order of their times, as the folders are named
            try:
                run = self._read([log], quick=True)
            except (Damaged, OSError) as error:
                self.told.damaged(f"run in {log}", str(error), "leave it out, or ask W&B to sync what is left of it")
                continue
            key = _project(run)
            self._runs.setdefault((run.entity, run.project, run.id), []).append(log)
            created = int(run.started * 1e6)
            if key not in found:
                found[key] = FoundExperiment(
                    key=key, identity=f"wandb:{key}", name=key, uri="", created=created, updated=created
                )
        return list(found.values())

    def runs(self, experiments: Mapping[str, FoundExperiment]) -> Iterator[FoundRun]:
        for (_, _, name), logs in self._runs.items():
            try:
                yield self._found(self._read(logs))
            except (Damaged, OSError) as error:
                self.told.damaged(f"run {name} in {logs[-1].parent}", str(error), "leave it out, or mend the log")

    def logged_models(self, experiments: Mapping[str, FoundExperiment]) -> Iterable[FoundLoggedModel]:
        return ()

    def models(self) -> Iterable[FoundModel]:
        return ()

    def _read(self, logs: Sequence[Path], *, quick: bool = False) -> _Run:
        """What these logs say together; `quick`: only which run it is, and whether they can be read."""
        run = _Run()
        for log in logs:
            records = messages(log)
            for record in records.messages:
                if record.has(_RUN) or not quick:
                    self._take(run, record)
            if not quick:
                run.files.append(log.parent / "files")
                if records.is_cut:
                    self.told.skip(
                        "unfinished last records", "the training was stopped while it wrote", example=str(log)
                    )
        if not run.id:
            raise Damaged("the log does not say which run it is")
        return run

    def _take(self, run: _Run, record: Message) -> None:
        if (told := record.one(_RUN)) is not None:
            _take_run(run, told)
        elif (told := record.one(_HISTORY)) is not None:
            self._take_history(run, told)
        elif (told := record.one(_STATS)) is not None:
            self._take_stats(run, told)
        elif (told := record.one(_CONFIG)) is not None:
            _merge(run.config, told)
        elif (told := record.one(_SUMMARY)) is not None:
            _merge(run.summary, told)
        elif (told := record.one(_EXIT)) is not None:
            run.exit_code, run.runtime = told.integer(1), float(told.integer(2))
        elif (told := record.one(_ENVIRONMENT)) is not None:
            run.person = told.text(13) or run.person
            run.tags |= {key: text for key, text in (("mlflow.source.name", told.text(6)),) if text}
        elif record.has(_CONSOLE):
            self.told.skip("records of console output", "what a run printed is not kept")
        elif record.has(_ARTIFACT):
            self.told.skip("logged W&B artifacts", "they were left with W&B; files of the run are taken")

    def _take_history(self, run: _Run, history: Message) -> None:
        row: dict[str, Any] = {}
        for item in history.all(1):
            _put(row, item.texts(_NESTED) or [item.text(_KEY)], _json(item.text(_JSON)))
        step_of = history.one(2)
        step = row.get("_step", step_of.integer(1) if step_of is not None else 0)
        moment = row.get("_timestamp", run.started)
        if not isinstance(step, int) or not isinstance(moment, int | float) or abs(step) > MAX_STEP:
            raise Damaged(f"a step is {step!r} at {moment!r}")
        at = _micros(moment)
        run.last = max(run.last, (at, step))
        for key, value in self._numbers(run, row):
            run.points.setdefault(key, []).append((at, step, value))

    def _take_stats(self, run: _Run, stats: Message) -> None:
        stamp = stats.one(2)
        at = _micros(_seconds(stamp)) if stamp is not None else run.last[0]
        for item in stats.all(3):
            value = _json(item.text(_JSON))
            if isinstance(value, int | float) and not isinstance(value, bool):
                points = run.points.setdefault(f"system/{item.text(_KEY)}", [])
                points.append((at, len(points), float(value)))

    def _numbers(self, run: _Run, row: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
        """The numbers in a row, those in mappings by `outer.inner`; what is none is told by its kind, once a run."""
        for key, value in row.items():
            name = f"{above}{key}"
            if not above and key in _OWN:
                continue
            if len(name) > MAX_KEY:
                self._skip(run, name, "with too long names", f"a name has at most {MAX_KEY} characters")
                continue
            if isinstance(value, int | float):
                yield name, float(value)
            elif isinstance(value, str) and value in _NUMBERS:
                yield name, _NUMBERS[value]
            elif isinstance(value, dict) and "_type" not in value:
                yield from self._numbers(run, value, f"{name}.")  # pyright: ignore[reportUnknownArgumentType]  JSON
            else:
                self._skip(run, name, f"that are {_kind(value)}", "a metric is a number")

    def _skip(self, run: _Run, name: str, which: str, reason: str) -> None:
        if name not in run.skipped:
            run.skipped.add(name)
            self.told.skip(f"metrics of runs {which}", reason, example=f"run {run.id}: {name[:80]}")

    def _found(self, run: _Run) -> FoundRun:
        at, step = run.last
        started = _micros(run.started)
        ended = max(at, started + _micros(run.runtime)) or None
        status: RunStatus = "killed" if run.exit_code is None else "finished" if run.exit_code == 0 else "failed"
        tags = run.tags | {"mlflow.runName": run.name or run.id, "wandb.id": run.id}
        summary = {key: value for key, value in run.summary.items() if key not in _OWN}
        for key, value in self._numbers(
            run, {key: value for key, value in summary.items() if not isinstance(value, str)}
        ):
            if key not in run.points:
                run.points[key] = [(ended or started, step, value)]
        for key, value in summary.items():
            if isinstance(value, str) and value in _NUMBERS:
                run.points.setdefault(key, [(ended or started, step, _NUMBERS[value])])
            elif isinstance(value, str) and key not in run.points:
                tags[f"wandb.summary.{key}"] = value
        ours = run.id if _ID.fullmatch(run.id) else digest_of(f"{_project(run)}/{run.id}".encode())[:32]
        return FoundRun(
            id=ours,
            identity=f"wandb:{_project(run)}/{run.id}",
            experiment=_project(run),
            name=run.name or run.id,
            person=run.person,
            status=status,
            git_commit=run.commit,
            started=started,
            ended=ended,
            params=dict(sorted(_flat({key: value for key, value in run.config.items() if key != "_wandb"}))),
            tags=dict(sorted(tags.items())),
            metrics={key: _points(points) for key, points in sorted(run.points.items())},
            files=[Place("folder", folder=folder) for folder in run.files if folder.is_dir()],
        )


def _take_run(run: _Run, told: Message) -> None:
    run.id, run.entity, run.project = told.text(1) or run.id, told.text(2), told.text(3)
    run.name = told.text(8) or run.name
    if (stamp := told.one(17)) is not None and not run.started:
        run.started = _seconds(stamp)
    if (config := told.one(4)) is not None:
        _merge(run.config, config)
    if (summary := told.one(5)) is not None:
        _merge(run.summary, summary)
    if (git := told.one(21)) is not None:
        run.commit = git.text(2)
    words = {
        "mlflow.note.content": told.text(9),
        "mlflow.source.git.commit": run.commit,
        "wandb.tags": ",".join(told.texts(10)),
        "wandb.group": told.text(6),
        "wandb.job_type": told.text(7),
        "wandb.sweep": told.text(12),
        "wandb.host": told.text(13),
    }
    run.tags |= {key: text for key, text in words.items() if text}


def _merge(into: dict[str, Any], changes: Message) -> None:
    for item in changes.all(1):
        _put(into, item.texts(_NESTED) or [item.text(_KEY)], _json(item.text(_JSON)))
    for item in changes.all(2):
        into.pop(item.text(_KEY), None)


def _put(into: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *folders, name = path
    for folder in folders:
        held = into.get(folder)
        into = into.setdefault(folder, {}) if isinstance(held, dict) or held is None else into
        if not isinstance(into, dict):
            return
    into[name] = value


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")  # pyright: ignore[reportUnknownArgumentType]  JSON
        else:
            yield f"{above}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _points(points: list[tuple[int, int, float]]) -> Points:
    at, step, value = zip(*points, strict=True)
    return Points(np.array(at, np.int64), np.array(step, np.int64), np.array(value, np.float64))


def _project(run: _Run) -> str:
    return "/".join(part for part in (run.entity, run.project or "uncategorized") if part)


def _seconds(stamp: Message) -> float:
    return stamp.integer(1) + stamp.integer(2) / 1e9


def _micros(seconds: float) -> int:
    if not abs(seconds) < MAX_STEP / 1e6:
        raise Damaged(f"a time is {seconds!r}")
    return round(seconds * 1e6)


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError) as error:
        raise Damaged(f"a value in the log is no JSON: {text[:60]!r}") from error


def _kind(value: object) -> str:
    match value:
        case {"_type": str(kind)}:
            return f"of type {kind}"
        case str():
            return "texts"
        case list():
            return "lists"
        case _:
            return "nothing"
