from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from layers import Line, Scaled

from perennial.errors import Corrupt, DataError
from perennial.models.flavors import flavor_of
from perennial.models.flavors.flavor import Answered, Saved
from perennial.models.flavors.keras_archive import check, code_in
from perennial.models.flavors.tensorflow import TensorFlow
from perennial.models.preparation import Preparation, learn
from perennial.models.signature import Signature

# Keras calls NumPy in a way that NumPy warns of; that is between the two.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HERE = Path(__file__).parent
AGAIN = """
import sys, json
from pathlib import Path
import msgspec, polars as pl
sys.path.insert(0, sys.argv[2])
from perennial.models.flavors import flavor_named
from perennial.models.signature import Signature
folder = Path(sys.argv[1])
told = json.loads((folder / "told.json").read_text())
signature = msgspec.json.decode((folder / "signature.json").read_bytes(), type=Signature)
scorer = flavor_named("tensorflow").load(folder, told["format"], told["options"], signature)
found = scorer.answer(pl.read_ipc(folder / "x.arrow"))
values = found.probabilities if found.values is None else found.values
print(json.dumps({"answers": values.tolist(), "layers": "layers" in sys.modules}))
"""


def prepared(frame: pl.DataFrame, target: str, **options: Any) -> tuple[Preparation, pl.DataFrame]:
    preparation = learn(frame.to_arrow(), target=target, **options)
    return preparation, preparation.columns(preparation.raw(frame.to_arrow()))


def labels(frame: pl.DataFrame, target: str) -> Any:
    return np.unique(frame[target].to_numpy(), return_inverse=True)[1]


def told(found: Answered) -> np.ndarray[Any, Any]:
    answer = found.probabilities if found.values is None else found.values
    assert answer is not None
    return answer


def answers_again(
    tmp_path: Path, saved: Saved, options: Mapping[str, Any], signature: Signature, x: pl.DataFrame
) -> tuple[np.ndarray[Any, Any], bool]:
    """What a new process answers that loads these files, and whether it needed the user's module."""
    import msgspec

    for name, data in saved.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "told.json").write_text(json.dumps({"format": saved.format, "options": {**options, **saved.options}}))
    (tmp_path / "signature.json").write_bytes(msgspec.json.encode(signature))
    x.write_ipc(tmp_path / "x.arrow")
    command = [sys.executable, "-c", AGAIN, str(tmp_path), str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return np.array(found["answers"]), found["layers"]


@pytest.fixture(scope="module")
def images(digits: pl.DataFrame) -> tuple[Any, Preparation, pl.DataFrame]:
    """A fitted network of images, which knows its training."""
    preparation, x = prepared(digits, "digit")
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.2),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    pixels = x["pixels"].to_numpy()[..., None]
    network.fit(
        pixels[:1200], labels(digits, "digit")[:1200], epochs=10, batch_size=64, validation_split=0.2, verbose=0
    )
    return network, preparation, x


def test_a_network_of_images_is_stored_without_code_and_answers_the_same_in_a_new_process(
    images: tuple[Any, Preparation, pl.DataFrame], digits: pl.DataFrame, tmp_path: Path
) -> None:
    network, preparation, x = images
    flavor = flavor_of(network)
    assert isinstance(flavor, TensorFlow)
    scorer = flavor.scorer(network, preparation.signature, x)
    assert scorer.options["mode"] == "tensor"
    assert scorer.options["answers"] == "logits"
    found = told(scorer.answer(x))
    wanted = keras.ops.softmax(network.predict(x["pixels"].to_numpy()[..., None], verbose=0))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    right = np.array(preparation.signature.classes)[found.argmax(axis=1)] == digits["digit"].to_numpy()
    assert right[1200:].mean() > 0.85
    saved = flavor.save(network, preparation.signature)
    assert saved.format == "keras"
    assert not flavor.formats["keras"].runs_code
    again, needed_code = answers_again(tmp_path, saved, scorer.options, preparation.signature, x)
    assert not needed_code
    np.testing.assert_allclose(again, found, rtol=1e-5, atol=1e-7)


def test_the_same_network_has_the_same_bytes(images: tuple[Any, Preparation, pl.DataFrame]) -> None:
    network, preparation, _ = images
    first = TensorFlow().save(network, preparation.signature)
    assert first.files == TensorFlow().save(network, preparation.signature).files


def test_training_curves_are_keras_own_history(images: tuple[Any, Preparation, pl.DataFrame]) -> None:
    network, _, _ = images
    curves = TensorFlow().curves(network)
    assert sorted(curves) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert all(len(values) == 10 for values in curves.values())
    assert curves["loss"][-1] < curves["loss"][0]
    assert TensorFlow().curves(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])) == {}


def test_columns_by_name_with_categories_and_text_answer_a_regression(wages: pl.DataFrame, tmp_path: Path) -> None:
    preparation, x = prepared(wages, "wage")
    known = preparation.signature.columns[2].categories or []
    keras.utils.set_random_seed(1)
    education, experience = keras.Input((1,), name="education"), keras.Input((1,), name="experience")
    occupation = keras.Input((1,), name="occupation", dtype="string")
    coded = keras.layers.StringLookup(vocabulary=known)(occupation)
    embedded = keras.layers.Flatten()(keras.layers.Embedding(len(known) + 1, 3)(coded))
    together = keras.layers.Concatenate()([education / 12 - 1, experience / 20 - 1, embedded])
    answer = keras.layers.Dense(1)(keras.layers.Dense(16, activation="tanh")(together))
    network = keras.Model([education, experience, occupation], answer)
    network.compile(keras.optimizers.Adam(0.02), "mse")
    given = {
        "education": x["education"].to_numpy()[:, None],
        "experience": x["experience"].to_numpy()[:, None],
        "occupation": tf.constant(x["occupation"].cast(pl.String()).to_numpy()[:, None]),
    }
    network.fit(given, wages["wage"].to_numpy(), epochs=20, verbose=0)
    scorer = TensorFlow().scorer(network, preparation.signature, x)
    assert scorer.options["mode"] == "named"
    found = told(scorer.answer(x))
    np.testing.assert_allclose(found, network.predict(given, verbose=0)[:, 0], rtol=1e-4)
    assert np.corrcoef(found, wages["wage"].to_numpy())[0, 1] > 0.45
    saved = TensorFlow().save(network, preparation.signature)
    assert saved.format == "keras", saved.options
    again, _ = answers_again(tmp_path, saved, scorer.options, preparation.signature, x)
    np.testing.assert_allclose(again, found, rtol=1e-5)


def test_a_layer_of_the_users_own_makes_it_code_which_loads_with_the_users_module(
    flat_digits: pl.DataFrame, tmp_path: Path
) -> None:
    preparation, x = prepared(flat_digits, "digit")
    keras.utils.set_random_seed(2)
    network = keras.Sequential([keras.Input((64,)), Scaled(16.0), keras.layers.Dense(10, activation="softmax")])
    scorer = TensorFlow().scorer(network, preparation.signature, x)
    assert scorer.options["answers"] == "probabilities"
    saved = TensorFlow().save(network, preparation.signature)
    assert saved.format == "keras-code"
    assert TensorFlow.formats["keras-code"].runs_code
    assert saved.options["custom"] == {"Scaled": "layers:Scaled"}
    again, needed_code = answers_again(tmp_path, saved, scorer.options, preparation.signature, x)
    assert needed_code
    np.testing.assert_allclose(again, told(scorer.answer(x)), rtol=1e-5, atol=1e-7)
    with pytest.raises(Corrupt, match="claims to be data, but holds the class Scaled"):
        TensorFlow().load(tmp_path, "keras", scorer.options, preparation.signature)


def test_a_module_of_TensorFlow_is_a_folder_that_counts_as_code(wages: pl.DataFrame, tmp_path: Path) -> None:
    preparation, x = prepared(wages.select("education", "experience", "wage"), "wage")
    module = Line()
    assert isinstance(flavor_of(module), TensorFlow)
    scorer = TensorFlow().scorer(module, preparation.signature, x)
    found = told(scorer.answer(x))
    wanted = 1 + 0.5 * x["education"].to_numpy() + 0.1 * x["experience"].to_numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    saved = TensorFlow().save(module, preparation.signature)
    assert saved.format == "saved-model"
    assert TensorFlow.formats["saved-model"].runs_code
    assert all(name.startswith("model/") for name in saved.files)
    again, needed_code = answers_again(tmp_path, saved, scorer.options, preparation.signature, x)
    assert not needed_code
    np.testing.assert_allclose(again, found, rtol=1e-6)
    begins = TensorFlow.formats["saved-model"].begins
    assert saved.files["model/saved_model.pb"].startswith(begins)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    assert isinstance(flavor_of(loaded), TensorFlow)
    assert TensorFlow().save(loaded, preparation.signature).format == "saved-model"


def test_one_output_for_two_classes_is_told_apart(wages: pl.DataFrame) -> None:
    frame = wages.select("education", "experience", is_high=pl.col("wage") > 9)
    preparation, x = prepared(frame, "is_high")
    keras.utils.set_random_seed(3)
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(0.05), keras.layers.Dense(1)])
    wanted = 1 / (1 + np.exp(-plain.predict(x.to_numpy(), verbose=0)[:, 0]))
    shifted = keras.Sequential([plain, keras.layers.Rescaling(1.0, -5.0)])
    sure = keras.Sequential([plain, keras.layers.Activation("sigmoid")])
    assert TensorFlow().scorer(shifted, preparation.signature, x).options["answers"] == "logits"
    scorer = TensorFlow().scorer(sure, preparation.signature, x)
    assert scorer.options["answers"] == "probabilities"
    np.testing.assert_allclose(told(scorer.answer(x))[:, 1], wanted, rtol=1e-5)


def test_a_network_of_the_wrong_shape_is_refused(flat_digits: pl.DataFrame) -> None:
    preparation, x = prepared(flat_digits, "digit")
    network = keras.Sequential([keras.Input((64,)), keras.layers.Dense(3)])
    with pytest.raises(DataError, match="not a number for each of the 10 classes"):
        TensorFlow().scorer(network, preparation.signature, x)


def test_many_rows_and_one_row_are_asked_through_one_traced_function(flat_digits: pl.DataFrame) -> None:
    preparation, x = prepared(flat_digits, "digit")
    network = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    scorer = TensorFlow().scorer(network, preparation.signature, x)
    whole = told(scorer.answer(x))
    np.testing.assert_allclose(told(scorer.answer(x[7])), whole[7:8], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(told(scorer.answer(pl.concat([x] * 20)))[-len(x) :], whole, rtol=1e-5, atol=1e-7)


def test_to_recognise_a_network_does_not_import_the_toolkit() -> None:
    code = (
        "import sys; from perennial.models.flavors.tensorflow import TensorFlow; "
        "assert not TensorFlow().recognises(object()); assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# --- content that is not what it claims ---


def rewritten(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as read, zipfile.ZipFile(target, "w") as written:
        for name in read.namelist():
            content = read.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            written.writestr(name, content)
    return target.getvalue()


def _layer(config: dict[str, Any]) -> dict[str, Any]:
    return config["config"]["layers"][-1]


def _lambda(config: dict[str, Any]) -> None:
    function = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
    _layer(config).update(
        {"class_name": "Lambda", "registered_name": None, "config": {"name": "l", "function": function}}
    )


def _other_module(config: dict[str, Any]) -> None:
    _layer(config).update({"module": "os", "class_name": "system", "registered_name": None, "config": {"command": "x"}})


def _other_keras_module(config: dict[str, Any]) -> None:
    _layer(config).update({"module": "keras.utils", "class_name": "get_file"})


def _keras_internals(config: dict[str, Any]) -> None:
    _layer(config).update({"module": "keras.src.utils.file_utils", "class_name": "get_file"})


def _saved_model_layer(config: dict[str, Any]) -> None:
    _layer(config).update({"class_name": "TFSMLayer", "config": {"filepath": "/tmp/evil", "name": "l"}})


def _vocabulary_path(config: dict[str, Any]) -> None:
    _layer(config).update({"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd", "name": "l"}})


def _registered(config: dict[str, Any]) -> None:
    _layer(config).update({"registered_name": "Custom>Dense"})


def _function(config: dict[str, Any]) -> None:
    function = {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"}
    _layer(config)["config"]["activation"] = function


def _no_module(config: dict[str, Any]) -> None:
    _layer(config).update({"module": None, "registered_name": None})


HOSTILE = [
    _lambda,
    _other_module,
    _other_keras_module,
    _keras_internals,
    _saved_model_layer,
    _vocabulary_path,
    _registered,
    _function,
    _no_module,
]


@pytest.fixture(scope="module")
def plain_file(flat_digits: pl.DataFrame) -> tuple[bytes, Signature]:
    preparation, _ = prepared(flat_digits, "digit")
    network = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, activation="softmax")])
    return TensorFlow().save(network, preparation.signature).files["model/model.keras"], preparation.signature


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__.strip("_"))
def test_C08_a_keras_file_that_names_anything_but_keras_own_layers_is_code(
    change: Callable[[dict[str, Any]], None], plain_file: tuple[bytes, Signature], tmp_path: Path
) -> None:
    data, signature = plain_file
    assert code_in(check(data, "")) is None
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.keras").write_bytes(rewritten(data, change))
    with pytest.raises(Corrupt, match="claims to be data, but holds"):
        TensorFlow().load(tmp_path, "keras", {}, signature)


def _weights(link: Any, tmp_path: Path, data: bytes) -> bytes:
    path = tmp_path / "weights.h5"
    with zipfile.ZipFile(io.BytesIO(data)) as read:
        path.write_bytes(read.read("model.weights.h5"))
    with h5py.File(path, "a") as file:
        link(file)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as read, zipfile.ZipFile(target, "w") as written:
        for name in read.namelist():
            written.writestr(name, path.read_bytes() if name == "model.weights.h5" else read.read(name))
    return target.getvalue()


def _external_link(file: Any) -> None:
    file["more"] = h5py.ExternalLink("/etc/hostname", "/")


def _soft_link(file: Any) -> None:
    file["more"] = h5py.SoftLink("/layers")


def _external_data(file: Any) -> None:
    file.create_dataset("more", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def _huge(file: Any) -> None:
    file.create_dataset("more", (1 << 40,), "f4", chunks=(1024,))


@pytest.mark.parametrize("link", [_external_link, _soft_link, _external_data, _huge], ids=lambda one: one.__name__)
def test_C21_weights_that_lie_elsewhere_or_claim_a_huge_size_are_refused(
    link: Any, plain_file: tuple[bytes, Signature], tmp_path: Path
) -> None:
    data, _ = plain_file
    with pytest.raises(Corrupt):
        check(_weights(link, tmp_path, data), "model.keras")


def test_C11_an_archive_with_other_files_or_one_that_swells_is_refused(plain_file: tuple[bytes, Signature]) -> None:
    data, _ = plain_file
    for name, content in (("../evil", b"x"), ("assets/../../evil", b"x"), ("evil.py", b"x"), ("CONFIG.json", b"{}")):
        target = io.BytesIO(data)
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(name, content)
        with pytest.raises(Corrupt):
            check(target.getvalue(), "model.keras")
    target = io.BytesIO(data)
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/swells", b"\0" * 10_000_000)
    with pytest.raises(Corrupt, match="unpacks to"):
        check(target.getvalue(), "model.keras")


def test_C09_a_pickle_that_claims_to_be_a_keras_file_is_refused_and_not_run(
    plain_file: tuple[bytes, Signature], tmp_path: Path
) -> None:
    import pickle

    marker = tmp_path / "ran"

    class Runs:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(marker),))

    (tmp_path / "model").mkdir()
    for data in (pickle.dumps(Runs()), b"", b"PK\x03\x04"):
        (tmp_path / "model" / "model.keras").write_bytes(data)
        for form in ("keras", "keras-code"):
            with pytest.raises(Corrupt):
                TensorFlow().load(tmp_path, form, {}, plain_file[1])
    assert not marker.exists()
