"""Graphs of ONNX as models: what they take and answer, what becomes of them in a package, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from perennial.errors import Corrupt, DataError
from perennial.models.build import build, predictor_of
from perennial.models.flavors import flavor_named, flavor_of
from perennial.models.flavors.onnx import session
from perennial.models.importing import Asked, import_model
from perennial.models.mlflow_folder import read_folder
from perennial.models.package import MANIFEST, Predictor, checkout, read_manifest
from perennial.models.preparation import learn
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.types import Digest

X, Y = load_iris(return_X_y=True)
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
FLOWERS = pl.DataFrame(X, schema=NAMES).with_columns(kind=pl.Series(load_iris().target_names[Y]))
NUMBERS = pl.DataFrame({"a": [1.0, 2.0, 3.0], "b": [10.0, 20.0, 30.0], "y": [0.5, 0.25, 0.125]})


def graph_of(
    nodes: list[Any],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, tuple[int, list[Any]]],
    constants: dict[str, Any] | None = None,
    domains: tuple[tuple[str, int], ...] = (("", 17),),
) -> Any:
    """A graph; inputs and outputs are name -> (type, shape)."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(name, *told) for name, told in inputs.items()],
            [helper.make_tensor_value_info(name, *told) for name, told in outputs.items()],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid(*one) for one in domains],
    )
    model.ir_version = 9
    return model


def summed(kind: int, dtype: Any) -> Any:
    """a + b, by name, of this type, one number for each row."""
    del dtype
    return graph_of(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        {"a": (kind, [None]), "b": (kind, [None])},
        {"y": (kind, [None])},
    )


def weighted(kind: int, dtype: Any) -> Any:
    """2 a + 3 b, of one matrix, a column of numbers."""
    return graph_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (kind, [None, 2])},
        {"y": (kind, [None, 1])},
        {"w": np.array([[2], [3]], dtype=dtype)},
    )


def made_of(model: Any, frame: pl.DataFrame, target: str, **options: Any) -> Predictor:
    table = frame.to_arrow()
    preparation = learn(table, target=target, **options)
    return predictor_of(model=model, preparation=preparation, sample=preparation.raw(table)).native


def stored(model: Any, frame: pl.DataFrame, target: str, objects: ObjectStore) -> Digest:
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


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")


@pytest.fixture(scope="module")
def forest() -> tuple[Any, Any]:
    """A forest, and its graph: labels as text, and a table of probabilities."""
    model = RandomForestClassifier(10, random_state=0).fit(X, FLOWERS["kind"].to_numpy())
    return model, to_onnx(model, X[:1].astype(np.float32), options={"zipmap": False})


# A round trip


def test_a_graph_is_stored_as_it_is_and_answers_the_same_from_a_package(
    forest: tuple[Any, Any], objects: ObjectStore, tmp_path: Path
) -> None:
    model, graph = forest
    assert flavor_of(graph) is flavor_named("onnx")
    digest = stored(graph, FLOWERS, "kind", objects)
    assert stored(graph, FLOWERS, "kind", objects) == digest  # the same graph is the same bytes
    manifest = read_manifest(objects.get(digest))
    assert (manifest.kind, manifest.saved_as, manifest.runs_code) == ("onnx", "onnx", False)
    folder = checkout(digest, objects, tmp_path / "cache")
    assert onnx.load(folder / "model.onnx") == graph
    predictor = Predictor.load(folder)  # it is data: nobody need vouch
    assert predictor.check_golden() == []
    found = predictor.answers(FLOWERS.drop("kind"))
    np.testing.assert_allclose(found.probabilities, model.predict_proba(X), atol=1e-6)
    assert found.values.tolist() == model.predict(X).tolist()
    block = read_folder(folder).flavors["onnx"]
    assert (block["data"], block["onnx_version"]) == ("model.onnx", onnx.__version__)


def test_classes_of_the_graph_that_stand_in_another_order_are_answered_by_their_names(
    objects: ObjectStore, tmp_path: Path
) -> None:
    """A file is brought in with a sample whose labels are those of the graph."""
    model = LogisticRegression(max_iter=500).fit(X, FLOWERS["kind"].to_numpy())
    path = tmp_path / "flowers.onnx"
    path.write_bytes(to_onnx(model, X[:1].astype(np.float32), options={"zipmap": False}).SerializeToString())
    asked = Asked(sample=FLOWERS.sample(40, seed=0), target="kind")
    made = import_model(path, asked, objects=objects, environment="", provenance={})
    predictor = Predictor.load(checkout(made.package, objects, tmp_path / "cache"))
    assert predictor.signature.classes == model.classes_.tolist()
    answers = predictor.predict(FLOWERS.drop("kind"))
    assert [answer["prediction"] for answer in answers] == model.predict(X).tolist()
    for answer, row in zip(answers, model.predict_proba(X), strict=True):
        assert answer["probabilities"] == pytest.approx(dict(zip(model.classes_.tolist(), row, strict=True)), abs=1e-5)


# Shapes, names, types


@pytest.mark.parametrize(
    "kind, dtype",
    [(TensorProto.FLOAT, np.float32), (TensorProto.DOUBLE, np.float64), (TensorProto.INT64, np.int64)],
    ids=["float", "double", "int64"],
)
@pytest.mark.parametrize("graph", [summed, weighted], ids=["by name", "one matrix"])
def test_numbers_of_every_type_are_given_by_name_or_as_a_matrix(graph: Any, kind: int, dtype: Any) -> None:
    predictor = made_of(graph(kind, dtype), NUMBERS, "y")
    wanted = [11.0, 22.0, 33.0] if graph is summed else [32.0, 64.0, 96.0]
    found = predictor.answers(NUMBERS.drop("y").reverse()).values
    assert found.dtype == np.float64
    assert found.tolist() == wanted[::-1]
    assert predictor.answers(NUMBERS.drop("y").head(1)).values.tolist() == wanted[:1]


def test_columns_in_another_order_than_the_inputs_are_given_by_name() -> None:
    difference = graph_of(
        [helper.make_node("Sub", ["b", "a"], ["y"])],
        {"b": (TensorProto.DOUBLE, [None]), "a": (TensorProto.DOUBLE, [None])},
        {"y": (TensorProto.DOUBLE, [None])},
    )
    assert made_of(difference, NUMBERS, "y").answers(NUMBERS.drop("y")).values.tolist() == [9.0, 18.0, 27.0]


def test_named_inputs_with_a_second_axis_take_a_column_of_text_and_one_of_numbers() -> None:
    """As skl2onnx makes a pipeline's inputs: [rows, 1] each."""
    graph = graph_of(
        [
            helper.make_node(
                "LabelEncoder",
                ["word"],
                ["code"],
                domain="ai.onnx.ml",
                keys_strings=["hi", "ho"],
                values_floats=[1.0, 2.0],
            ),
            helper.make_node("Mul", ["code", "times"], ["y"]),
        ],
        {"word": (TensorProto.STRING, [None, 1]), "times": (TensorProto.FLOAT, [None, 1])},
        {"y": (TensorProto.FLOAT, [None, 1])},
        domains=(("", 17), ("ai.onnx.ml", 3)),
    )
    frame = pl.DataFrame({"word": ["ho", "hi", "ho", "hi"], "times": [1.5, 2.5, 3.5, 4.5], "y": [0.1, 0.2, 0.3, 0.4]})
    predictor = made_of(graph, frame, "y")
    assert predictor.answers(frame.drop("y")).values.tolist() == [3.0, 2.5, 7.0, 4.5]


def test_missing_numbers_are_nan_to_the_graph() -> None:
    graph = graph_of(
        [helper.make_node("IsNaN", ["a"], ["none"]), helper.make_node("Where", ["none", "b", "a"], ["y"])],
        {"a": (TensorProto.DOUBLE, [None]), "b": (TensorProto.DOUBLE, [None])},
        {"y": (TensorProto.DOUBLE, [None])},
    )
    frame = NUMBERS.with_columns(a=pl.Series([1.0, None, 3.0]))
    assert made_of(graph, frame, "y").answers(frame.drop("y")).values.tolist() == [1.0, 20.0, 3.0]


def test_true_and_false_arrive_as_such() -> None:
    graph = graph_of(
        [helper.make_node("Where", ["flag", "a", "b"], ["y"])],
        {"flag": (TensorProto.BOOL, [None]), "a": (TensorProto.DOUBLE, [None]), "b": (TensorProto.DOUBLE, [None])},
        {"y": (TensorProto.DOUBLE, [None])},
    )
    frame = NUMBERS.with_columns(flag=pl.Series([True, False, True]))
    assert made_of(graph, frame, "y").answers(frame.drop("y")).values.tolist() == [1.0, 20.0, 3.0]


def test_images_of_their_own_shape_are_one_tensor() -> None:
    graph = graph_of(
        [helper.make_node("ReduceMax", ["image"], ["y"], axes=[1, 2], keepdims=0)],
        {"image": (TensorProto.FLOAT, [None, 2, 3])},
        {"y": (TensorProto.FLOAT, [None])},
    )
    values = np.arange(24.0).reshape(4, 2, 3)
    frame = pl.DataFrame({"image": values, "y": [0.1, 0.2, 0.3, 0.4]})
    assert made_of(graph, frame, "y").answers(frame.drop("y")).values.tolist() == [5.0, 11.0, 17.0, 23.0]


# Answers of a classifier


def test_one_number_for_each_row_is_the_probability_of_the_second_class() -> None:
    graph = graph_of(
        [helper.make_node("MatMul", ["x", "w"], ["score"]), helper.make_node("Sigmoid", ["score"], ["p"])],
        {"x": (TensorProto.DOUBLE, [None, 2])},
        {"p": (TensorProto.DOUBLE, [None, 1])},
        {"w": np.array([[1.0], [-0.1]])},
    )
    frame = NUMBERS.with_columns(y=pl.Series(["no", "yes", "no"]))
    predictor = made_of(graph, frame, "y")
    rows = pl.DataFrame({"a": [0.0, 2.0], "b": [10.0, 10.0]})
    first, second = predictor.predict(rows)
    assert second["probabilities"] == pytest.approx({"no": 1 - 1 / (1 + np.exp(-1)), "yes": 1 / (1 + np.exp(-1))})
    assert (first["prediction"], second["prediction"]) == ("no", "yes")


def test_a_list_of_mappings_is_a_table_as_older_converters_write_it(forest: tuple[Any, Any]) -> None:
    model, _ = forest
    predictor = made_of(to_onnx(model, X[:1].astype(np.float32)), FLOWERS, "kind")  # ZipMap, skl2onnx's default
    found = predictor.answers(FLOWERS.drop("kind"))
    np.testing.assert_allclose(found.probabilities, model.predict_proba(X), atol=1e-6)


def test_labels_alone_are_answered_without_probabilities(forest: tuple[Any, Any]) -> None:
    model, graph = forest
    alone = onnx.ModelProto()
    alone.CopyFrom(graph)
    (table,) = [output for output in alone.graph.output if "label" not in output.name]
    alone.graph.output.remove(table)
    predictor = made_of(alone, FLOWERS, "kind")
    assert predictor.answers(FLOWERS.drop("kind")).probabilities is None
    answers = predictor.predict(FLOWERS.drop("kind").head(3))
    assert answers == [{"prediction": label} for label in model.predict(X[:3])]


# Errors that say what is wrong


def test_one_number_for_three_classes_is_refused() -> None:
    frame = NUMBERS.with_columns(y=pl.Series(["no", "yes", "perhaps"]))
    with pytest.raises(DataError, match="one number for each row, but there are 3 classes"):
        made_of(weighted(TensorProto.DOUBLE, np.float64), frame, "y")


def test_an_input_that_is_no_column_is_named() -> None:
    frame = NUMBERS.rename({"a": "other"})
    with pytest.raises(DataError, match="takes an input 'a', which is no column") as caught:
        made_of(summed(TensorProto.DOUBLE, np.float64), frame, "y")
    assert "other, b" in caught.value.remedy


def test_a_type_that_no_column_holds_is_named() -> None:
    graph = graph_of(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        {"a": (TensorProto.FLOAT16, [None]), "b": (TensorProto.FLOAT16, [None])},
        {"y": (TensorProto.FLOAT16, [None])},
    )
    with pytest.raises(DataError, match=r"tensor\(float16\) for 'a'"):
        made_of(graph, NUMBERS, "y")


# What is refused before anything runs


def with_external(graph: Any) -> Any:
    """Its first weights lie in another file, at a path that the graph chooses."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    (tensor,) = changed.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return changed


def with_foreign(graph: Any) -> Any:
    """It needs operators that somebody would have to load from a library."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    changed.opset_import.append(helper.make_opsetid("example.org", 1))
    changed.graph.node[0].domain = "example.org"
    return changed


REFUSED = {
    "another file": (with_external, "takes the tensor 'w' from another file"),
    "foreign operators": (with_foreign, "uses operators of 'example.org'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_C09_a_graph_that_reaches_outside_is_refused_in_every_way_in(
    what: str, objects: ObjectStore, tmp_path: Path
) -> None:
    change, says = REFUSED[what]
    graph = change(weighted(TensorProto.DOUBLE, np.float64))
    with pytest.raises(Corrupt, match=says):  # from a train step
        made_of(graph, NUMBERS, "y")
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(Corrupt, match=says):  # from a file
        import_model(path, Asked(sample=NUMBERS, target="y"), objects=objects, environment="", provenance={})
    digest = stored(weighted(TensorProto.DOUBLE, np.float64), NUMBERS, "y", objects)
    files = dict(read_manifest(objects.get(digest)).files)
    data = graph.SerializeToString()
    files["model.onnx"] = (objects.put(data), len(data))
    forged = objects.put(changed_manifest(objects.get(digest), files))
    with pytest.raises(Corrupt, match=says):  # from a package
        Predictor.load(checkout(forged, objects, tmp_path / "cache"), native=True)


def changed_manifest(data: bytes, files: dict[str, tuple[Digest, int]]) -> bytes:
    import msgspec

    return msgspec.structs.replace(read_manifest(data), files=files).to_bytes()


@pytest.mark.parametrize("data", [b"", b"\x80\x05cos\nsystem\n.", b"PK\x03\x04", b"\x08\x07"], ids=str)
def test_C09_what_is_no_graph_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt, match="not an ONNX model"):
        session(data, "somewhere")


def test_a_graph_that_the_runtime_does_not_take_is_refused_with_its_reason() -> None:
    graph = weighted(TensorProto.DOUBLE, np.float64)
    graph.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(Corrupt, match="ONNX Runtime does not take this graph"):
        session(graph.SerializeToString(), "somewhere")


def test_a_byte_that_changed_is_noticed_before_the_graph_is_read(objects: ObjectStore, tmp_path: Path) -> None:
    folder = checkout(stored(summed(TensorProto.DOUBLE, None), NUMBERS, "y", objects), objects, tmp_path / "cache")
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-1] ^= 1
    LocalFiles().write_atomic(folder / "model.onnx", bytes(data))
    with pytest.raises(Corrupt, match="differs from its digest"):
        Predictor.load(folder)
    assert json.loads((folder / MANIFEST).read_text())["kind"] == "onnx"
