"""What the Open Inference Protocol and KServe v1 tell of a server besides predictions: paths, readiness, metadata.

Pure functions of what the service says of itself (`ServerState`); they know no socket and no clock. A path is taken
apart once (`target_of`); whoever serves it predicts where `Target.verb` is "infer", and answers with `tell` otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from perennial.errors import Conflict, Invalid, NotFound, Unavailable
from perennial.serve.protocols.json_values import parse
from perennial.serve.protocols.outputs import TensorMeta, inputs_told, outputs_told
from perennial.serve.protocols.protocol import Reply

if TYPE_CHECKING:
    from perennial.models.signature import Signature

__all__ = [
    "EXTENSIONS",
    "Counts",
    "ModelState",
    "ServerState",
    "Target",
    "Verb",
    "find",
    "index",
    "metadata",
    "not_by_clients",
    "statistics",
    "target_of",
    "tell",
]

EXTENSIONS = ("binary_tensor_data", "model_repository", "parameters", "statistics")
Verb = Literal[
    "server", "live", "ready", "models", "model", "model_ready", "infer", "explain", "stats", "index", "load", "unload"
]
_State = Literal["READY", "UNAVAILABLE", "LOADING", "UNLOADING"]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint answered since its process started. A request is a failure when no row of it was answered.

    `rows` and `batches`: predictions of successful requests, and how often the model was asked for them; `last_ms`: of
    the newest request, milliseconds since 1970, 0 before any.
    """

    successes: int = 0
    success_ns: int = 0
    failures: int = 0
    failure_ns: int = 0
    queue_ns: int = 0
    model_ns: int = 0
    rows: int = 0
    batches: int = 0
    last_ms: int = 0


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint as clients of these protocols see it: a model.

    `versions`: those that may be asked for by number, the live one first.
    """

    name: str
    versions: tuple[str, ...]
    state: _State
    reason: str = ""
    platform: str = "perennial"
    signature: Signature
    counts: Counts = Counts()


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """The service. `is_ready`: all its endpoints answer."""

    name: str = "perennial"
    version: str
    is_ready: bool
    models: tuple[ModelState, ...] = ()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a path of `/v1` or `/v2` asks for; another method than `method` is answered 405."""

    protocol: Literal[1, 2]
    verb: Verb
    method: Literal["GET", "POST"]
    model: str = ""
    version: str | None = None


def target_of(path: str) -> Target | None:
    """What a path asks for; None where it is none of these protocols'.

    >>> target_of("/v2/models/wage/versions/3/infer")
    Target(protocol=2, verb='infer', method='POST', model='wage', version='3')
    >>> target_of("/v1/models/wage:predict").verb
    'infer'
    """
    parts = path.split("/")
    if parts[0] or len(parts) < 2 or parts[1] not in ("v1", "v2"):
        return None
    if parts[-1] == "" and len(parts) > 2:
        parts.pop()
    rest = parts[2:]
    return _v1(rest) if parts[1] == "v1" else _v2(rest)


def tell(target: Target, server: ServerState, body: bytes = b"") -> Reply:
    """The answer to everything but predictions; `body` is the request's, which the repository's index may have.

    Raises:
        NotFound: There is no such model, or it has no such version.
        Unavailable: The model is not ready.
        Conflict: Loading and unloading: which versions run is decided in the workspace.
    """
    if target.verb in ("load", "unload"):
        raise not_by_clients(target.verb, target.model)
    if target.verb == "live":
        return _json({"live": True})
    if target.verb == "ready":
        return _json({"ready": server.is_ready}, 200 if server.is_ready else 503)
    if target.verb == "server":
        return _json({"name": server.name, "version": server.version, "extensions": EXTENSIONS})
    if target.verb == "models":
        return _json({"models": [model.name for model in server.models]})
    if target.verb == "index":
        return _json(index(server, is_ready_only=_wants_ready(body)))
    if target.verb == "stats":
        return _json({"model_stats": statistics(server, target.model, target.version)})
    model = find(server, target.model, target.version)
    if target.verb == "model" and target.protocol == 2:
        return _json(metadata(model, target.version))
    if model.state != "READY":
        raise Unavailable(
            f"model {model.name!r} is not ready: {model.reason or model.state.lower()}", where=model.name,
            remedy="ask again later",
        )  # fmt: skip
    return _json({"name": model.name, "ready": True})


def find(server: ServerState, name: str, version: str | None = None) -> ModelState:
    """The model of this name, which must have the version where one is given.

    Raises:
        NotFound: There is no such model, or it has no such version.
    """
    for model in server.models:
        if model.name == name:
            if version is not None and version not in model.versions:
                raise NotFound(
                    f"model {name!r} has no version {version!r} here",
                    where=name,
                    remedy=f"ask for one of {', '.join(model.versions)}, or for none" if model.versions else "",
                )
            return model
    known = ", ".join(sorted(model.name for model in server.models)) or "none yet"
    raise NotFound(f"there is no model {name!r}", where=name, remedy=f"models here: {known}")


def metadata(model: ModelState, version: str | None = None) -> dict[str, Any]:
    """The metadata of a model; inputs are columns, of which those with `required: false` may be left out."""
    inputs: list[TensorMeta] = inputs_told(model.signature)
    return {
        "name": model.name,
        "versions": [version] if version is not None else list(model.versions),
        "platform": model.platform,
        "inputs": inputs,
        "outputs": outputs_told(model.signature),
    }


def _v1(rest: list[str]) -> Target | None:
    if rest == ["models"]:
        return Target(protocol=1, verb="models", method="GET")
    if len(rest) != 2 or rest[0] != "models" or not rest[1]:
        return None
    name, colon, verb = rest[1].rpartition(":")
    if not colon:
        return Target(protocol=1, verb="model", method="GET", model=verb)
    if verb == "predict" and name:
        return Target(protocol=1, verb="infer", method="POST", model=name)
    if verb == "explain" and name:
        return Target(protocol=1, verb="explain", method="POST", model=name)
    return None


def _v2(rest: list[str]) -> Target | None:
    match rest:
        case []:
            return Target(protocol=2, verb="server", method="GET")
        case ["health", "live" | "ready" as verb]:
            return Target(protocol=2, verb=verb, method="GET")
        case ["models"]:
            return Target(protocol=2, verb="models", method="GET")
        case ["models", "stats"]:
            return Target(protocol=2, verb="stats", method="GET")
        case ["repository", "index"]:
            return Target(protocol=2, verb="index", method="POST")
        case ["repository", "models", str(name), "load" | "unload" as verb] if name:
            return Target(protocol=2, verb=verb, method="POST", model=name)
        case ["models", str(name), "versions", str(version), *verbs] if name and version:
            return _of_model(name, version, verbs)
        case ["models", str(name), *verbs] if name:
            return _of_model(name, None, verbs)
        case _:
            return None


def _of_model(name: str, version: str | None, verbs: list[str]) -> Target | None:
    match verbs:
        case []:
            return Target(protocol=2, verb="model", method="GET", model=name, version=version)
        case ["ready" | "stats" as verb]:
            asked: Verb = "model_ready" if verb == "ready" else "stats"
            return Target(protocol=2, verb=asked, method="GET", model=name, version=version)
        case ["infer" | "explain" as verb]:
            return Target(protocol=2, verb=verb, method="POST", model=name, version=version)
        case _:
            return None


def not_by_clients(verb: str, model: str) -> Conflict:
    """That models come and go otherwise; `verb` is load or unload."""
    return Conflict(
        f"models are not {verb}ed by clients of the prediction service",
        where=model,
        remedy="deploy a version in the workspace",
    )


def index(server: ServerState, *, is_ready_only: bool) -> list[dict[str, str]]:
    """Each version of each model: name, version, state, reason."""
    return [
        {"name": model.name, "version": version, "state": model.state, "reason": model.reason}
        for model in server.models
        if model.state == "READY" or not is_ready_only
        for version in model.versions or ("",)
    ]


def _wants_ready(body: bytes) -> bool:
    asked = parse(body, "send {}") if body.strip() else {}
    ready = asked.get("ready", False) if isinstance(asked, dict) else None
    if not isinstance(ready, bool):
        raise Invalid("ready is true or false", where="ready", remedy='send {"ready": true}, or nothing')
    return ready


def statistics(server: ServerState, name: str = "", version: str | None = None) -> list[dict[str, Any]]:
    """What the models answered since their process started: of this one, or of all.

    Raises:
        NotFound: There is no such model, or it has no such version.
    """
    models = server.models if not name else (find(server, name, version),)
    return [stats for model in models for stats in _stats(model, version)]


def _stats(model: ModelState, version: str | None) -> list[dict[str, Any]]:
    """The counts are the endpoint's, whose versions answer side by side: the live one is named where none is given."""
    counts = model.counts
    done = counts.successes

    def told(count: int, ns: int) -> dict[str, int]:
        return {"count": count, "ns": ns}

    return [
        {
            "name": model.name,
            "version": version or (model.versions[0] if model.versions else ""),
            "last_inference": counts.last_ms,
            "inference_count": counts.rows,
            "execution_count": counts.batches,
            "inference_stats": {
                "success": told(done, counts.success_ns),
                "fail": told(counts.failures, counts.failure_ns),
                "queue": told(done, counts.queue_ns),
                "compute_input": told(done, 0),
                "compute_infer": told(done, counts.model_ns),
                "compute_output": told(done, 0),
            },
            "batch_stats": [],
        }
    ]


def _json(value: object, status: int = 200) -> Reply:
    return Reply(status=status, body=msgspec.json.encode(value))
