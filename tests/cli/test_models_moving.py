"""`perennial models import|export|verify`: a model goes out and comes in again as it was, or what is wrong is said."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from perennial.api.connect import open
from perennial.types import Digest
from tests.cli.conftest import Perennial


@pytest.fixture
def sample(project: Path) -> Path:
    x, y = load_iris(return_X_y=True)
    frame = pl.DataFrame(x, schema=["a", "b", "c", "d"]).with_columns(kind=pl.Series(y))
    frame.write_parquet(project / "rows.parquet")
    return project / "rows.parquet"


@pytest.fixture
def skops_file(project: Path, sample: Path) -> Path:
    frame = pl.read_parquet(sample)
    model = LogisticRegression(max_iter=500).fit(frame.drop("kind").to_numpy(), frame["kind"].to_numpy())
    path = project / "model.skops"
    path.write_bytes(skops.io.dumps(model))
    return path


@pytest.mark.usefixtures("skops_file")
def test_a_skops_file_comes_in_without_anybody_trusting_it_and_answers(perennial: Perennial, project: Path) -> None:
    said = perennial(
        "models", "import", "model.skops", "--name", "iris", "--sample", "rows.parquet", "--target", "kind"
    )
    assert said.code == 0, said.err
    assert "it holds no code" in said.out
    with open() as ws:
        version = ws.models.get(name="iris")
        assert (version.state, version.origin) == ("candidate", "imported")
        assert not ws.models.is_trusted(package=str(version.package))
    checked = perennial("models", "verify", "iris")
    assert checked.code == 0, checked.err
    assert "answers as it did" in checked.out
    assert list(project.glob("*.pkl")) == []


@pytest.mark.usefixtures("skops_file")
@pytest.mark.parametrize("target", ["out", "out.zip"])
def test_what_was_exported_comes_in_again_as_the_same_package(perennial: Perennial, target: str) -> None:
    perennial("models", "import", "model.skops", "--name", "iris", "--sample", "rows.parquet", "--target", "kind")
    said = perennial("models", "export", "iris@1", target)
    assert said.code == 0, said.err
    if target == "out":
        assert json.loads(Path("out/card.json").read_text())["name"] == "iris"
        assert "<html" in Path("out/card.html").read_text()
    else:
        assert zipfile.ZipFile(target).testzip() is None
    assert perennial("models", "export", "iris@1", target).code == 2  # it exists
    again = perennial("models", "import", target, "--name", "other")
    assert again.code == 0, again.err
    with open() as ws:
        assert ws.models.get(name="other").package == ws.models.get(name="iris").package


@pytest.mark.usefixtures("skops_file")
def test_C20_a_changed_byte_of_an_exported_folder_is_refused_by_name(perennial: Perennial) -> None:
    perennial("models", "import", "model.skops", "--name", "iris", "--sample", "rows.parquet", "--target", "kind")
    perennial("models", "export", "iris@1", "out")
    for path in sorted(path for path in Path("out").rglob("*") if path.is_file() and not path.name.startswith("card.")):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        said = perennial("models", "import", "out", "--name", "other")
        assert said.code == 3, path
        assert path.name == "manifest.json" or path.name in said.err
        path.write_bytes(whole)
    with open() as ws:
        assert [version.name for version in ws.models.list()] == ["iris"]


def test_verify_names_a_damaged_file_and_ends_with_1(perennial: Perennial, skops_file: Path, project: Path) -> None:
    perennial("models", "import", skops_file.name, "--name", "iris", "--sample", "rows.parquet", "--target", "kind")
    (pack,) = (project / ".perennial/objects").rglob("*.pack")
    data = bytearray(pack.read_bytes())
    data[len(data) // 3] ^= 1
    pack.write_bytes(data)
    said = perennial("models", "verify", "iris")
    assert said.code == 1, said.out + said.err
    assert ":" in said.out


@pytest.mark.usefixtures("sample")
def test_a_pickle_comes_in_as_before_and_waits_for_a_person(perennial: Perennial) -> None:
    frame = pl.read_parquet("rows.parquet")
    model = LogisticRegression(max_iter=500).fit(frame.drop("kind").to_numpy(), frame["kind"].to_numpy())
    Path("model.pkl").write_bytes(pickle.dumps(model))
    said = perennial("deploy", "model.pkl", "--name", "iris", "--sample", "rows.parquet", "--target", "kind")
    assert said.code == 0, said.err
    assert "iris version 1 is candidate" in said.out
    # All its types are scikit-learn's: it is kept as skops, and nothing of the pickle is left.
    with open() as ws:
        assert ws.models.get(name="iris").verdicts[0].evidence == {
            "kind": "sklearn",
            "format": "skops",
            "runs_code": False,
        }
        assert "is a pickle, which is code" in ws.models.get(name="iris").verdicts[1].says


def graph(path: Path, external: bool = False) -> Path:
    weights = onnx.numpy_helper.from_array(np.ones((4, 1), dtype=np.float32), "w")
    if external:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", "../../../etc/passwd"
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])]
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, outputs, [weights]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.usefixtures("sample")
def test_C21_an_onnx_file_comes_in_unless_it_reads_other_files(perennial: Perennial, project: Path) -> None:
    pl.read_parquet("rows.parquet").drop("kind").head(10).write_csv("x.csv")
    graph(project / "sum.onnx")
    said = perennial("models", "import", "sum.onnx", "--name", "sum", "--sample", "x.csv")
    assert said.code == 0, said.err
    assert perennial("models", "verify", "sum").code == 0
    graph(project / "bad.onnx", external=True)
    said = perennial("models", "import", "bad.onnx", "--name", "bad", "--sample", "x.csv")
    assert said.code == 3
    assert "takes the tensor 'w' from another file" in said.err


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    "source", ["runs:/nothing/model", "models:/nothing/1", "models:/iris/x", "runs:/", "no.onnx", "."]
)
def test_a_source_that_names_nothing_is_told(perennial: Perennial, source: str) -> None:
    perennial("init")
    said = perennial("models", "import", source, "--name", "iris", "--sample", "rows.parquet")
    assert said.code == 2, said.err
    assert "to go on" in said.err


def test_models_that_were_logged_here_come_in_by_their_address(perennial: Perennial, skops_file: Path) -> None:
    inputs = [{"type": "double", "name": name, "required": True} for name in "abcd"]
    block = {"pickled_model": "model.skops", "serialization_format": "skops"}
    told = {"flavors": {"sklearn": block}, "signature": {"inputs": json.dumps(inputs), "outputs": '[{"type": "long"}]'}}
    with open() as ws:
        runs = ws.service("runs")
        run = runs.start(loop="elsewhere")
        for name, data in (("MLmodel", json.dumps(told).encode()), ("model.skops", skops_file.read_bytes())):
            ws.artifacts.add_for_run(
                run_id=run.id, path=f"model/{name}", digest=str(ws.objects.put(data)), size=len(data)
            )
        ws.registered.create(name="theirs")
        ws.model_versions.create(name="theirs", source=f"{run.artifact_uri}/model", run_id=run.id)
        logged = ws.logged_models.create(experiment=run.experiment, name="apart", run_id=run.id)
        root = logged.artifact_uri.removeprefix("mlflow-artifacts:/")
        for name, data in (("MLmodel", json.dumps(told).encode()), ("model.skops", skops_file.read_bytes())):
            ws.artifacts.add(path=f"{root}/{name}", digest=str(ws.objects.put(data)), size=len(data))
    packages: set[str | None] = set()
    sources = (f"runs:/{run.id}/model", f"runs:/{run.id}/apart", "models:/theirs/1", f"models:/{logged.id}")
    for number, source in enumerate(sources):
        said = perennial("models", "import", source, "--name", f"m{number}", "--sample", "rows.parquet")
        assert said.code == 0, f"{source}: {said.err}"
        with open() as ws:
            found = ws.models.get(name=f"m{number}")
            assert source in found.reason
            manifest = json.loads(ws.objects.get(Digest(str(found.package))))
            packages.add(manifest["files"]["model.skops"][0])
    assert len(packages) == 1
    own = perennial("models", "import", "models:/m0/1", "--name", "again")
    assert own.code == 0, own.err
    with open() as ws:
        assert ws.models.get(name="again").package == ws.models.get(name="m0").package
