"""The services to compare: how each is installed, started, asked and read. One worker each, as they come otherwise."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peers import python_of, version_of

from serving.models import Model

__all__ = ["LIMITS", "PEERS", "Peer", "Start", "free_port"]

APPS = Path(__file__).parent / "apps"
SILENT = {
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONDONTWRITEBYTECODE": "",  # a server that compiles its modules at each start would be slandered
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@dataclass(frozen=True)
class Start:
    """How to start a service for one model, and how to ask it."""

    words: list[str]
    port: int
    path: str = "/predict"
    answer: str = "listed"
    body: Callable[[list[float]], Any] = field(default=lambda row: {"inputs": [row]})
    variables: Mapping[str, str] = field(default_factory=dict)
    is_constant: bool = False  # always answers 0

    def load(self, model: Model) -> dict[str, Any]:
        """What the generator needs to know, but for how long and how many at once."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "path": self.path,
            "answer": self.answer,
            "bodies": [json.dumps(self.body(row)) for row in model.rows],
            "expected": [[0] if self.is_constant else [label] for label in model.labels],
        }


@dataclass(frozen=True)
class Peer:
    """One to compare with. `environment` and `packages`: see `peers.python_of`; `of` names the version that is told."""

    title: str
    environment: str
    packages: tuple[str, ...]
    start: Callable[[Path, Model, Path], Start]  # interpreter, model, a folder of its own
    of: str

    def python(self) -> Path | None:
        same = [f"{name}=={version(name)}" for name in ("scikit-learn", "numpy")]
        return python_of(self.environment, *self.packages, *same)

    def version(self, python: Path) -> str:
        return version_of(python, self.of)


def _uvicorn(python: Path, app: str, port: int) -> list[str]:
    quiet = ["--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--app-dir", str(APPS)]
    return [str(python), "-m", "uvicorn", app, *where, *quiet]


def _fastapi(python: Path, model: Model, folder: Path) -> Start:
    port = free_port()
    return Start(_uvicorn(python, "fastapi_service:app", port), port, variables={"MODEL": str(model.path)})


def _hello(python: Path, model: Model, folder: Path) -> Start:
    port = free_port()
    return Start(_uvicorn(python, "hello:app", port), port, is_constant=True)


def _bare(python: Path, model: Model, folder: Path) -> Start:
    port = free_port()
    return Start([str(python), str(APPS / "bare.py"), str(port)], port, is_constant=True)


def _mlflow(python: Path, model: Model, folder: Path) -> Start:
    import subprocess

    code = (
        "import joblib, mlflow.sklearn, sys;"
        "mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2], serialization_format='cloudpickle')"
    )
    saved = folder / "model"
    words = [str(python), "-c", code, str(model.path), str(saved)]
    subprocess.run(words, check=True, capture_output=True, env=os.environ | SILENT, cwd=folder)
    port = free_port()
    serve = ["models", "serve", "-m", str(saved), "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    return Start([str(python.with_name("mlflow")), *serve], port, path="/invocations")


def _mlserver(python: Path, model: Model, folder: Path) -> Start:
    port = free_port()
    settings = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(),
        "debug": False, "parallel_workers": 1, "logging_settings": None,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    what = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(model.path)}}
    (folder / "model-settings.json").write_text(json.dumps(what), encoding="utf-8")

    def body(row: list[float]) -> Any:
        return {"inputs": [{"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": row}]}

    words = [str(python.with_name("mlserver")), "start", str(folder)]
    return Start(words, port, path="/v2/models/m/infer", answer="inference", body=body)


def _bentoml(which: str) -> Callable[[Path, Model, Path], Start]:
    def start(python: Path, model: Model, folder: Path) -> Start:
        port = free_port()
        where = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(APPS)]
        words = [str(python.with_name("bentoml")), "serve", f"bento_service:{which}", *where]
        return Start(words, port, answer="bare", variables={"MODEL": str(model.path), "BENTOML_HOME": str(folder)})

    return start


def _script(name: str, how: str, path: str) -> Callable[[Path, Model, Path], Start]:
    def start(python: Path, model: Model, folder: Path) -> Start:
        port = free_port()
        words = [str(python), str(APPS / name), str(port), how]
        return Start(words, port, path=path, variables={"MODEL": str(model.path)})

    return start


_BY_HAND = ("fastapi", "uvicorn", "httptools", "uvloop", "orjson")

PEERS = (
    Peer("FastAPI by hand", "serving-fastapi", _BY_HAND, _fastapi, "fastapi"),
    Peer("`mlflow models serve`", "serving-mlflow", ("mlflow",), _mlflow, "mlflow"),
    # With a newer uvloop its worker process ends at once: there is no current event loop.
    Peer("MLServer", "serving-mlserver", ("mlserver", "mlserver-sklearn", "uvloop<0.22"), _mlserver, "mlserver"),
    Peer("BentoML", "serving-bentoml", ("bentoml",), _bentoml("Plain"), "bentoml"),
    Peer("BentoML, batches", "serving-bentoml", ("bentoml",), _bentoml("Batched"), "bentoml"),
    Peer("LitServe", "serving-litserve", ("litserve",), _script("lit_service.py", "plain", "/predict"), "litserve"),
    Peer(
        "LitServe, batches", "serving-litserve", ("litserve",), _script("lit_service.py", "batched", "/predict"),
        "litserve",
    ),
    Peer("Ray Serve", "serving-ray", ("ray[serve]",), _script("ray_service.py", "plain", "/"), "ray"),
    Peer("Ray Serve, batches", "serving-ray", ("ray[serve]",), _script("ray_service.py", "batched", "/"), "ray"),
)  # fmt: skip

LIMITS = (
    Peer("uvicorn, a constant", "serving-fastapi", _BY_HAND, _hello, "uvicorn"),
    Peer("asyncio protocol, a constant", "serving-fastapi", _BY_HAND, _bare, "uvloop"),
)
