"""Networks from training to service, and networks that MLflow saved."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from layers import Line, Scaled

from perennial.errors import Corrupt, Refused
from perennial.models.build import build
from perennial.models.flavors.tensorflow import mlflow_code, read_file, read_mlflow
from perennial.models.package import MANIFEST, Predictor, checkout, compilation_in, read_manifest
from perennial.models.preparation import learn
from perennial.store.objects import ObjectStore
from perennial.types import Digest

from ...endtoend.conftest import Project
from ..life import live

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DIGITS = '''\
"""Digits of 4 x 4 pixels, by a network of convolutions."""

import keras
import polars as pl
from sklearn.datasets import load_digits

from perennial import Loop, require, retrain

loop = Loop("digits", target="digit")


@loop.collect
def digits():
    found = load_digits()
    small = found.images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    frame = pl.DataFrame(small, schema=[f"p{i}" for i in range(16)])
    return frame.with_columns(digit=pl.Series([f"digit {value}" for value in found.target]))


@loop.train
def model(X, y, *, epochs: int = 40):
    keras.utils.set_random_seed(0)
    names = sorted(set(y))
    network = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Conv2D(16, 2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    target = keras.ops.convert_to_tensor([names.index(value) for value in y])
    network.fit(X.to_numpy().reshape(-1, 4, 4, 1), target, epochs=epochs, batch_size=64, verbose=0)
    return network


loop.require(require.better_than_baseline("accuracy"))
loop.retrain(retrain.never())
'''


def test_a_network_of_images_lives_from_training_to_service(project: Project, digits: pl.DataFrame) -> None:
    project.write(loop=DIGITS)
    images = digits["pixels"][[0, 1, 2, 700]].to_numpy().reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    rows = pl.DataFrame(images, schema=[f"p{i}" for i in range(16)]).to_dicts()
    told = live(project, "digits", rows, task="classification", relative=1e-4, kind="tensorflow", method="sampled")
    assert [row["prediction"] for row in told["serving"][:3]] == ["digit 0", "digit 1", "digit 2"]
    assert told["form"] == "onnx-float32", told["reason"]
    folder = next((project.home / "serving").rglob(f"{told['version']['package']}/{MANIFEST}")).parent
    manifest = read_manifest((folder / MANIFEST).read_bytes())
    assert (manifest.kind, manifest.saved_as, manifest.runs_code) == ("tensorflow", "keras", False)


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


def network_of(*layers: Any) -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10, activation="softmax")])


def test_images_of_their_own_shape_are_packaged_compiled_and_answered_and_MLflows_own_loader_finds_them(
    objects: ObjectStore, digits: pl.DataFrame, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(10)])
    folder = checkout(stored(objects, network, digits, "digit"), objects, tmp_path / "cache")
    assert (compilation := compilation_in(folder)) is not None
    assert compilation.form == "onnx-float32", compilation
    records = [{"pixels": image} for image in digits["pixels"][:3].to_list()]
    plain = network.predict(digits["pixels"][:3].to_numpy(), verbose=0)
    for native in (False, True):
        predictor = Predictor.load(folder, native=native)  # both forms are data: nobody need vouch
        assert predictor.check_golden() == []
        found = predictor.answers(predictor.frame(records)).probabilities
        np.testing.assert_allclose(found, keras.ops.softmax(plain), rtol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        import mlflow

        again = mlflow.keras.load_model(str(folder))
    np.testing.assert_allclose(again.predict(digits["pixels"][:3].to_numpy(), verbose=0), plain, rtol=1e-5)


def test_C08_networks_that_hold_code_are_refused_without_trust(
    objects: ObjectStore, flat_digits: pl.DataFrame, wages: pl.DataFrame, tmp_path: Path
) -> None:
    lines = wages.select("education", "experience", "wage")
    models = (
        (network_of(Scaled(16.0)), flat_digits, "digit", "keras-code"),
        (network_of(keras.layers.Lambda(lambda x: x / 16, output_shape=(64,))), flat_digits, "digit", "keras-code"),
        (Line(), lines, "wage", "saved-model"),
    )
    for model, frame, target, form in models:
        digest = stored(objects, model, frame, target)
        assert read_manifest(objects.get(digest)).saved_as == form
        folder = checkout(digest, objects, tmp_path / "cache")
        compilation = compilation_in(folder)
        assert compilation is not None
        if compilation.form is None:
            with pytest.raises(Refused, match="nobody has vouched"):
                Predictor.load(folder)
        with pytest.raises(Refused, match="nobody has vouched"):
            Predictor.load(folder, native=True)
        assert Predictor.load(folder, trusted=True, native=True).check_golden() == []


def test_a_network_that_mlflow_keras_saved_is_read_and_packaged_without_code(
    objects: ObjectStore, flat_digits: pl.DataFrame, tmp_path: Path
) -> None:
    network, x = network_of(), flat_digits.drop("digit").to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
        import yaml

        for i, save in enumerate((mlflow.keras.save_model, mlflow.tensorflow.save_model)):
            folder = tmp_path / f"saved{i}"
            save(network, path=str(folder), pip_requirements=[])
            flavors = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]
            block = flavors.get("keras") or flavors["tensorflow"]
            assert mlflow_code(folder, block) is None
            digest = stored(objects, read_mlflow(folder, block), flat_digits, "digit")
            assert not read_manifest(objects.get(digest)).runs_code
            predictor = Predictor.load(checkout(digest, objects, tmp_path / "cache"))
            answers = predictor.answers(flat_digits.drop("digit")).probabilities
            np.testing.assert_allclose(answers, network.predict(x, verbose=0), rtol=1e-4, atol=1e-6)


def test_what_in_a_folder_of_MLflows_would_run_is_named_before_it_is_loaded(
    wages: pl.DataFrame, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
        import yaml

        scaled, module = tmp_path / "scaled", tmp_path / "module"
        mlflow.keras.save_model(network_of(Scaled(16.0)), path=str(scaled), pip_requirements=[])
        line = Line()
        line.f = tf.function(line.__call__).get_concrete_function(tf.TensorSpec([None]), tf.TensorSpec([None]))
        mlflow.tensorflow.save_model(line, path=str(module), pip_requirements=[])
        keras_block = yaml.safe_load((scaled / "MLmodel").read_text())["flavors"]["keras"]
        module_block = yaml.safe_load((module / "MLmodel").read_text())["flavors"]["tensorflow"]
    assert mlflow_code(scaled, keras_block) == "the class Scaled of layers"
    assert "SavedModel" in str(mlflow_code(module, module_block))
    assert callable(read_mlflow(module, module_block).f)
    with pytest.raises(Refused, match="holds the class Scaled of layers, which is code"):
        read_file(scaled / "data" / "model.keras")
    with pytest.raises(Corrupt):
        read_mlflow(module, {"saved_model_dir": "../../etc"})
