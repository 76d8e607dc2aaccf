"""`perennial deploy`: send an approved version to its endpoint, or bring in a model that was fitted elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perennial.cli.models.moving import bring_in, import_options
from perennial.cli.names import model_at
from perennial.cli.output import common, emit
from perennial.errors import Invalid, NotFound

__all__ = ["arguments", "run"]

MODEL_FILES = (".pkl", ".pickle", ".joblib")


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("model", metavar="NAME@VERSION|FILE", help="a version, or a file with a fitted model")
    parser.add_argument("--now", action="store_true", help="live at once, without shadow and canary")
    parser.add_argument("--because", default="deployed by hand", help="why; kept in the time line")
    parser.add_argument("--name", help="for a FILE: the model's name")
    import_options(parser)


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
    if not options.name:
        what = "a fitted model needs --name and --sample; a folder that says what it takes needs --name only"
        raise Invalid(what, remedy="perennial deploy model.pkl --name X --sample x.parquet")
    version = bring_in(options, options.model)
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
