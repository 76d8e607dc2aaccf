"""`perennial deploy`: send an approved version to its endpoint, or bring in a model that was fitted elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perennial.cli.names import model_at
from perennial.cli.output import common, emit, progress
from perennial.cli.tables import read_table
from perennial.errors import Invalid, NotFound

__all__ = ["arguments", "run"]

MODEL_FILES = (".pkl", ".pickle", ".joblib")


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("model", metavar="NAME@VERSION|FILE", help="a version, or a file with a fitted model")
    parser.add_argument("--now", action="store_true", help="live at once, without shadow and canary")
    parser.add_argument("--because", default="deployed by hand", help="why; kept in the time line")
    parser.add_argument("--name", help="for a FILE: the model's name")
    parser.add_argument("--sample", type=Path, help="for a FILE: a table of some input rows (Parquet or CSV)")
    parser.add_argument("--target", help="for a FILE: the sample's column with the true values, if it has one")
    parser.add_argument("--key", help="for a FILE: the sample's column that names the entity, if it has one")


def run(options: argparse.Namespace) -> int:
    if options.name or options.sample or Path(options.model).is_file():
        return _bring_in(options)
    if Path(options.model).suffix in MODEL_FILES:
        raise NotFound("there is no such file", where=options.model, remedy="name a file, or a version as NAME@VERSION")
    from perennial.api.connect import calls

    name, version = model_at(options.model)
    with calls(options.home) as owner:
        if version is None:
            version = owner.call("models.list", name=name, state="approved")[-1:] or _no_version(name)
            version = version[0]["version"]
        rollout = owner.call(
            "endpoints.start_rollout",
            name=name,
            version=version,
            stages=[] if options.now else _stages(owner, name),
            because=options.because,
            force=options.now,
        )
        owner.call("endpoints.publish")
    says = ", ".join(filter(None, (rollout["state"], rollout["verdict"])))
    emit(options, rollout, [f"{name} version {version}: {says}"])
    return 0


def _bring_in(options: argparse.Namespace) -> int:
    if not (options.name and options.sample):
        what = "a fitted model needs --name and --sample"
        raise Invalid(what, remedy="perennial deploy model.pkl --name X --sample x.parquet")
    from perennial.api.connect import open
    from perennial.models.importing import import_model
    from perennial.store.actor import system_user
    from perennial.tracking.environment import environment_text

    file = Path(options.model)
    with progress("reading the model"), open(options.home, origin="cli") as workspace:
        package = import_model(
            file,
            read_table(options.sample),
            objects=workspace.objects,
            environment=environment_text(),
            provenance={"file": file.name, "person": system_user()},
            target=options.target,
            key=options.key,
        )
        version = workspace.models.register(
            name=options.name, package=package, origin="imported", reason=f"brought in from {file.name}"
        )
    import msgspec

    line = f"{version.name} version {version.version} is {version.state}; its code runs once approved:"
    emit(options, msgspec.to_builtins(version), [line, f"  perennial approve {version.name}@{version.version}"])
    return 0


def _stages(owner: Any, name: str) -> list[Any]:
    try:
        return owner.call("renew.loop", name=name)["declaration"]["stages"]
    except NotFound:
        return []  # brought in without a loop: no stages were declared


def _no_version(name: str) -> list[Any]:
    raise NotFound(f"no version of {name} is approved", remedy=f"perennial approve {name}")
