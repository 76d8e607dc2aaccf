"""Networks from training to service, and networks that MLflow saved."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from networks import Branching, Nameless
from torch import nn

from perennial.errors import Corrupt, Refused, UserCodeError
from perennial.models.build import build
from perennial.models.flavors.pytorch import read_file, read_mlflow
from perennial.models.package import MANIFEST, Predictor, checkout, compilation_in, read_manifest
from perennial.models.preparation import learn
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.types import Digest

from ...endtoend.conftest import Project
from ..life import live

DIGITS = '''\
"""Digits of 4 x 4 pixels, by a network of convolutions."""

import polars as pl
import torch
from sklearn.datasets import load_digits
from torch import nn

from perennial import Loop, require, retrain

loop = Loop("digits", target="digit")


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 16, 2), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))

    def forward(self, x):
        return self.layers(x.reshape(-1, 1, 4, 4) / 16)


@loop.collect
def digits():
    found = load_digits()
    small = found.images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    frame = pl.DataFrame(small, schema=[f"p{i}" for i in range(16)])
    return frame.with_columns(digit=pl.Series([f"digit {value}" for value in found.target]))


@loop.train
def model(X, y, *, steps: int = 60):
    torch.manual_seed(0)
    names = sorted(set(y))
    inputs = torch.tensor(X.to_numpy().tolist())
    target = torch.tensor([names.index(value) for value in y])
    network = Images()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), target).backward()
        optimizer.step()
    return network


loop.require(require.better_than_baseline("accuracy"))
loop.retrain(retrain.never())
'''

WAGES = '''\
"""Wages, by a network that takes columns by name and is no graph."""

import torch
from linearmodels.datasets import wage_panel
from torch import nn

from perennial import Loop, require, retrain

loop = Loop("wages", target="lwage", key="nr")


class Wage(nn.Module):
    def __init__(self):
        super().__init__()
        self.low, self.high = nn.Linear(2, 1), nn.Linear(2, 1)

    def forward(self, educ, exper):
        x = torch.stack([educ / 10 - 1, exper / 10 - 1], 1)
        return self.low(x) if float(x.detach().sum()) < -1e9 else self.high(x)


@loop.collect
def wages():
    frame = wage_panel.load()[["nr", "educ", "exper", "lwage"]]
    return frame.astype({"educ": float, "exper": float})


@loop.train
def model(X, y):
    torch.manual_seed(0)
    inputs = {name: torch.tensor(X[name].to_list()) for name in ("educ", "exper")}
    target = torch.tensor(list(y), dtype=torch.float32)
    network = Wage()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.mse_loss(network(**inputs)[:, 0], target).backward()
        optimizer.step()
    return network


loop.require(require.better_than_baseline("rmse"))
loop.retrain(retrain.never())
'''


def test_a_network_of_images_lives_from_training_to_service(project: Project, digits: pl.DataFrame) -> None:
    project.write(loop=DIGITS)
    images = digits["pixels"][[0, 1, 2, 700]].to_numpy().reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    rows = pl.DataFrame(images, schema=[f"p{i}" for i in range(16)]).to_dicts()
    told = live(project, "digits", rows, task="classification", relative=1e-4, kind="pytorch", method="sampled")
    assert [row["prediction"] for row in told["serving"][:3]] == ["digit 0", "digit 1", "digit 2"]
    assert told["form"] == "onnx-float32", told["reason"]
    folder = next((project.home / "serving").rglob(f"{told['version']['package']}/{MANIFEST}")).parent
    manifest = read_manifest((folder / MANIFEST).read_bytes())
    assert (manifest.kind, manifest.saved_as, manifest.runs_code) == ("pytorch", "graph", False)


def test_a_network_that_is_no_graph_lives_from_training_to_service_as_code(project: Project) -> None:
    project.write(loop=WAGES)
    told = live(
        project,
        "wages",
        [{"educ": 12.0, "exper": 5.0}],
        task="regression",
        relative=1e-4,
        kind="pytorch",
        method="sampled",
    )
    folder = next((project.home / "serving").rglob(f"{told['version']['package']}/{MANIFEST}")).parent
    manifest = read_manifest((folder / MANIFEST).read_bytes())
    assert (manifest.kind, manifest.saved_as, manifest.runs_code) == ("pytorch", "state", True)
    assert told["form"] is None


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")


def stored(objects: ObjectStore, model: Any, frame: pl.DataFrame, target: str) -> Digest:
    table = frame.to_arrow()
    return build(
        model=model,
        preparation=learn(table, target=target),
        train=table,
        held_out=table.slice(0, 0),
        objects=objects,
        provenance={},
        environment="",
    )


def test_images_of_their_own_shape_are_packaged_compiled_and_answered(
    objects: ObjectStore, digits: pl.DataFrame, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    folder = checkout(stored(objects, network, digits, "digit"), objects, tmp_path / "cache")
    assert (compilation := compilation_in(folder)) is not None
    assert compilation.form == "onnx-float32", compilation
    records = [{"pixels": image} for image in digits["pixels"][:3].to_list()]
    with torch.no_grad():
        wanted = network(torch.tensor(digits["pixels"].to_list()[:3])).softmax(1).numpy()
    for native in (False, True):
        predictor = Predictor.load(folder, native=native)  # both forms are data: nobody need vouch
        assert predictor.check_golden() == []
        found = predictor.answers(predictor.frame(records)).probabilities
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_C08_a_pickled_network_is_refused_without_trust(
    objects: ObjectStore, flat_digits: pl.DataFrame, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    for network, form in ((Nameless(nn.Linear(64, 64)), "pickle"), (Branching(), "state")):
        digest = stored(objects, network, flat_digits, "digit")
        assert read_manifest(objects.get(digest)).saved_as == form
        folder = checkout(digest, objects, tmp_path / "cache")
        with pytest.raises(Refused, match="nobody has vouched"):
            Predictor.load(folder)
        assert Predictor.load(folder, trusted=True).check_golden() == []


def test_C09_a_package_that_claims_another_format_is_refused(
    objects: ObjectStore, flat_digits: pl.DataFrame, tmp_path: Path
) -> None:
    import msgspec

    torch.manual_seed(0)
    digest = stored(objects, Nameless(nn.Linear(64, 64)), flat_digits, "digit")
    folder = checkout(digest, objects, tmp_path / "cache")
    manifest = read_manifest((folder / MANIFEST).read_bytes())
    for changes in ({"saved_as": "graph"}, {"runs_code": False}, {"saved_as": "graph", "runs_code": False}):
        lie = msgspec.structs.replace(manifest, **changes)
        LocalFiles().write_atomic(folder / MANIFEST, lie.to_bytes())
        with pytest.raises((Corrupt, Refused)):
            Predictor.load(folder)


@pytest.mark.parametrize("form", ["pickle", "pt2", "torchscript"])
def test_a_network_that_MLflow_saved_is_read_and_packaged_without_code(
    form: str, objects: ObjectStore, flat_digits: pl.DataFrame, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 10)).eval()
    x = flat_digits.drop("digit").to_numpy().astype(np.float32)
    wanted = network(torch.tensor(x)).softmax(1).detach().numpy()
    folder = tmp_path / "saved"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's and PyTorch's own
        import mlflow
        import yaml

        given = torch.jit.trace(network, torch.tensor(x[:2])) if form == "torchscript" else network
        options = {"serialization_format": "pt2", "input_example": x[:5]} if form == "pt2" else {}
        options = options or {"serialization_format": "pickle"}
        mlflow.pytorch.save_model(given, folder, pip_requirements=[], **options)
        block = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["pytorch"]
        found = read_mlflow(folder, block)
        digest = stored(objects, found, flat_digits, "digit")
    manifest = read_manifest(objects.get(digest))
    assert not manifest.runs_code or form == "torchscript"
    predictor = Predictor.load(checkout(digest, objects, tmp_path / "cache"), trusted=manifest.runs_code, native=True)
    answers = predictor.answers(flat_digits.drop("digit")).probabilities
    np.testing.assert_allclose(answers, wanted, rtol=1e-4, atol=1e-7)


def test_MLflows_own_loader_finds_a_pickled_network(
    objects: ObjectStore, flat_digits: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    digest = stored(objects, Nameless(nn.Linear(64, 64)).eval(), flat_digits, "digit")
    folder = checkout(digest, objects, tmp_path / "cache")
    (folder / "code").mkdir()  # where the bundle puts the module of its class; here it is importable as it is
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        network = mlflow.pytorch.load_model(str(folder), weights_only=False)
    assert isinstance(network, Nameless)


def test_a_folder_of_MLflows_that_points_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Corrupt):
        read_mlflow(tmp_path / "folder", {"model_data": "../../etc"})


def test_a_file_of_weights_alone_is_no_network(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UserCodeError, match="save the module itself"):
        read_file(tmp_path / "weights.pt")
