"""Find out what kind of store a path holds."""

from __future__ import annotations

from pathlib import Path

from perennial.errors import DataError, NotFound
from perennial.tracking.importing.found import Store

__all__ = ["open_store"]

KINDS = "a SQLite file of MLflow, a folder mlruns, or a folder of W&B with offline-run-* in it"
SQLITE = b"SQLite format 3\0"


def open_store(path: Path, artifacts: Path | None = None) -> Store:
    """The store at this path, to read.

    Args:
        path: A file or folder.
        artifacts: Where an MLflow server kept its artifacts; by default `mlartifacts` here or beside the store.

    Raises:
        NotFound: There is nothing.
        DataError: It is none that can be read.
    """
    if not path.exists():
        raise NotFound("there is nothing to import", where=str(path), remedy=f"name {KINDS}")
    if artifacts is None:
        beside = (Path("mlartifacts"), path.resolve().parent / "mlartifacts")
        artifacts = next((folder.resolve() for folder in beside if folder.is_dir()), None)
    elif not artifacts.is_dir():
        raise NotFound("there is no such folder of artifacts", where=str(artifacts), remedy="name the server's folder")
    else:
        artifacts = artifacts.resolve()
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(SQLITE)) == SQLITE:
                from perennial.tracking.importing.mlflow_sqlite import MlflowSqlite

                return MlflowSqlite(path, artifacts)
    elif any(path.glob("*/meta.yaml")) or any(path.glob(".trash/*/meta.yaml")):
        from perennial.tracking.importing.mlflow_folder import MlflowFolder

        return MlflowFolder(path, artifacts)
    from perennial.tracking.importing.wandb_offline import WandbOffline, wandb_logs

    if logs := wandb_logs(path):
        return WandbOffline(path, logs)
    raise DataError("this is no store that can be imported", where=str(path), remedy=f"name {KINDS}")
