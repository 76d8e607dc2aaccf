"""Files of runs: logged, listed, fetched, deleted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow import MlflowClient
from recorder import Recorder

NAMES = ("plain.txt", "with space.txt", "ünïcode-文.txt", "100%.txt", "empty.bin", "deep/er/still.json")


def run(rec: Recorder) -> None:
    client = MlflowClient()
    exp = rec.know("exp", mlflow.set_experiment("artifacts").experiment_id)
    one = rec.know("run", client.create_run(exp, run_name="files").info.run_id)
    with tempfile.TemporaryDirectory() as folder:
        files(rec, client, one, Path(folder))
        fetched(rec, client, one, Path(folder))
    made(rec, client, one)
    fluent(rec, one)
    rec("delete_artifacts, one", _delete, one, "folder/plain.txt")
    rec("delete_artifacts, a folder", _delete, one, "folder")
    rec("list, after", client.list_artifacts, one)
    plainly(rec, exp, one)
    rec.refused("list of none", client.list_artifacts, "f" * 32)
    rec.refused("list, out of it", client.list_artifacts, one, "../..")


def _delete(run_id: str, path: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(MlflowClient().get_run(run_id).info.artifact_uri).delete_artifacts(path)


def files(rec: Recorder, client: MlflowClient, one: str, folder: Path) -> None:
    for name in NAMES:
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if "empty" in name else name.encode() * 10)
    rec("log_artifact", client.log_artifact, one, str(folder / "in" / "plain.txt"))
    rec("log_artifact, within", client.log_artifact, one, str(folder / "in" / "plain.txt"), "some/where")
    rec("log_artifacts", client.log_artifacts, one, str(folder / "in"), "folder")
    (folder / "big.bin").write_bytes(bytes(range(256)) * 20_000)
    rec("log_artifact, 5 MB", client.log_artifact, one, str(folder / "big.bin"))
    (folder / "plain.txt").write_text("written over")
    rec("log_artifact, again", client.log_artifact, one, str(folder / "plain.txt"))


def fetched(rec: Recorder, client: MlflowClient, one: str, folder: Path) -> None:
    for path in (None, "folder", "folder/deep", "folder/deep/er", "some", "plain.txt", "never"):
        rec(f"list {path}", client.list_artifacts, one, path)
    out = folder / "out"
    out.mkdir()
    rec("download all", lambda: Path(client.download_artifacts(one, "", str(out))).is_dir())
    rec("what came", lambda: {str(p.relative_to(out)): p.stat().st_size for p in sorted(out.rglob("*")) if p.is_file()})
    rec("download one", lambda: Path(client.download_artifacts(one, "folder/with space.txt")).read_text())
    rec("load_text", mlflow.artifacts.load_text, f"runs:/{one}/folder/ünïcode-文.txt")
    rec("download by uri", lambda: Path(mlflow.artifacts.download_artifacts(f"runs:/{one}/plain.txt")).read_text())
    rec.refused("download none", client.download_artifacts, one, "never.txt")


def made(rec: Recorder, client: MlflowClient, one: str) -> None:
    rec("log_text", client.log_text, one, "grüße", "made/text.txt")
    rec("log_dict", client.log_dict, one, {"a": [1, 2.5, None]}, "made/dict.json")
    rec("log_dict, yaml", client.log_dict, one, {"a": 1}, "made/dict.yaml")
    figure = Figure()
    figure.subplots().plot([0, 1], [1, 0])
    rec("log_figure", client.log_figure, one, figure, "made/figure.png")
    pixels = np.linspace(0, 255, 300).reshape(10, 10, 3).astype(np.uint8)
    rec("log_image", client.log_image, one, pixels, "made/image.png")
    rec("log_image, with a step", client.log_image, one, pixels, key="look", step=3, timestamp=1_500_000_000_000)
    rec("log_table", client.log_table, one, {"q": ["a", "b"], "n": [1, 2]}, "made/table.json")
    rec("log_table, appended", client.log_table, one, {"q": ["c"], "n": [3]}, "made/table.json")
    rec("load_table", lambda: client.load_table(client.get_run(one).info.experiment_id, "made/table.json", [one]))
    rec("list, made", client.list_artifacts, one, "made")
    rec("load_dict", mlflow.artifacts.load_dict, f"runs:/{one}/made/dict.json")
    rec("load_image", lambda: mlflow.artifacts.load_image(f"runs:/{one}/made/image.png").size)
    rec("images", lambda: len(client.list_artifacts(one, "images")))
    rec("tags after it", lambda: client.get_run(one).data.tags)


def fluent(rec: Recorder, one: str) -> None:
    with mlflow.start_run(run_id=one):
        rec("get_artifact_uri", mlflow.get_artifact_uri, "a/b")
        rec("fluent log_text", mlflow.log_text, "x", "fluent.txt")
        rec("fluent log_dict", mlflow.log_dict, {"x": 1}, "fluent.json")
        rec("fluent list", lambda: mlflow.artifacts.list_artifacts(run_id=one))


def plainly(rec: Recorder, exp: str, one: str) -> None:
    proxy = "/api/2.0/mlflow-artifacts/artifacts"
    root = f"{exp}/{one}/artifacts"
    rec.rest("put", "PUT", f"{proxy}/{root}/raw.bin", data=b"123")
    rec.rest("list", "GET", proxy, params={"path": root})
    rec.rest("list nothing", "GET", proxy, params={"path": f"{root}/never"})
    rec.rest("list a file", "GET", proxy, params={"path": f"{root}/raw.bin"})
    rec.rest("get none", "GET", f"{proxy}/{root}/never")
    rec.rest("get a folder", "GET", f"{proxy}/{root}/made")
    rec.rest("get upwards", "GET", f"{proxy}/{root}/..%2F..%2Fx")
    rec.rest("list upwards", "GET", proxy, params={"path": "../x"})
    rec.rest("list, absolute", "GET", proxy, params={"path": "/etc"})
    rec.rest("put upwards", "PUT", f"{proxy}/..%2Fx", data=b"1")
    rec.rest("delete", "DELETE", f"{proxy}/{root}/raw.bin")
    rec.rest("delete none", "DELETE", f"{proxy}/{root}/never")
    rec.rest("of a run", "GET", "/api/2.0/mlflow/artifacts/list", params={"run_id": one, "path": "made"})
    upload = "/ajax-api/2.0/mlflow/upload-artifact"
    rec.rest("upload", "POST", upload, params={"run_uuid": one, "path": "up/loaded.txt"}, data=b"up")
    rec.rest("upload nothing", "POST", upload, params={"run_uuid": one, "path": "up/none.txt"}, data=b"")
    rec.rest("upload upwards", "POST", upload, params={"run_uuid": one, "path": "../x"}, data=b"up")
    rec.rest("upload to none", "POST", upload, params={"run_uuid": "f" * 32, "path": "x"}, data=b"up")
    rec.rest("upload without path", "POST", upload, params={"run_uuid": one}, data=b"up")
    rec.rest("get-artifact", "GET", "/get-artifact", params={"run_id": one, "path": "made/dict.json"})
    rec.rest("get-artifact, none", "GET", "/get-artifact", params={"run_id": one, "path": "never"})
