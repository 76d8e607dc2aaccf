"""The Open Inference Protocol over HTTP: its requests become rows, answers become tensors, lies become 400."""

from __future__ import annotations

import json
import math
import struct
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.errors import Conflict, Invalid, NotFound, Unavailable
from perennial.models.signature import Field
from perennial.serve.frames import row_ids
from perennial.serve.intake import Intake
from perennial.serve.protocols.inference import OpenInference
from perennial.serve.protocols.models import Counts, ModelState, ServerState, target_of, tell
from perennial.serve.protocols.protocol import HttpRequest, Reply

from .wire import COLUMNS, FIRST, ROW, answer, classification, fired, numbers, post, regression, tensor, texts

WIRE = OpenInference()
WAGE = Intake(regression())
TWO = numbers(2)

# Tensors of a row: mostly the columns of either signature, of values that mostly fit.
_VALUES = {
    "FP64": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9) | st.none() | st.just(1e308),
    "FP32": st.floats(-1e6, 1e6, width=32), "INT64": st.integers(-(2**63), 2**63 - 1) | st.none(),
    "INT8": st.integers(-200, 200), "UINT64": st.integers(0, 2**64), "BOOL": st.booleans() | st.just(1),
    "BYTES": st.sampled_from(["1984-05-01", "AP8=", "a:b", '"\\', "é", "", 5, None]),
}  # fmt: skip
_NAMES = ["x0", "x1", "nobody", *WAGE.names]
_FITTING = [
    (field.name, {"int64": "INT64", "float64": "FP64", "bool": "BOOL"}.get(field.type, "BYTES"), ROW[field.name])
    for field in COLUMNS
]
_ODD = st.sampled_from(sorted(_VALUES)).flatmap(
    lambda kind: st.tuples(st.sampled_from(_NAMES), st.just(kind), _VALUES[kind])
)
ODD_ROWS = (
    st.lists(_ODD, min_size=1, max_size=4)
    | st.tuples(_VALUES["FP64"], _VALUES["FP32"]).map(lambda two: [("x0", "FP64", two[0]), ("x1", "FP32", two[1])])
    | st.lists(_ODD, max_size=2).map(lambda odd: [*{name: (name, k, v) for name, k, v in [*_FITTING, *odd]}.values()])
)


def reply(request: HttpRequest, intake: Intake, *values: Any, **more: Any) -> Reply:
    """Ask and answer as the service does."""
    WIRE.decode(request, intake)
    return WIRE.encode(answer(list(values), **more), request, intake)


def told(made: Reply) -> dict[str, Any]:
    assert made.status == 200
    return json.loads(made.body)


def columns(rows: int = 1, width: bool = False) -> list[dict[str, Any]]:
    """A tensor for each column of `WAGE`, as JSON."""
    kinds = {"int64": "INT64", "float64": "FP64", "bool": "BOOL"}
    shape = [rows, 1] if width else [rows]
    return [
        tensor(field.name, kinds.get(field.type, "BYTES"), shape, [ROW[field.name]] * rows)
        for field in COLUMNS
        if field.required
    ]


class TestRequests:
    @pytest.mark.parametrize("rows", [1, 3, 200])
    @pytest.mark.parametrize("width", [False, True], ids=["[n]", "[n, 1]"])
    def test_a_tensor_for_each_column(self, rows: int, width: bool) -> None:
        asked = WIRE.decode(post({"inputs": columns(rows, width)}), WAGE)
        assert asked.records() == [ROW] * rows

    @pytest.mark.parametrize("rows", [1, 3, 200])
    def test_raw_bytes_say_the_same_as_json(self, rows: int) -> None:
        raw = {
            "age": struct.pack(f"<{rows}q", *[41] * rows), "hours": struct.pack(f"<{rows}f", *[37.5] * rows),
            "union": b"\1" * rows, "sector": texts("Café".encode()) * rows, "photo": texts(b"\0\xff") * rows,
            "since": texts(b"2024-05-01T12:30:00Z") * rows, "born": texts(b"1983-02-28") * rows,
        }  # fmt: skip
        kinds = {"age": "INT64", "hours": "FP32", "union": "BOOL"}
        inputs = [
            tensor(name, kinds.get(name, "BYTES"), [rows, 1], binary_data_size=len(data)) for name, data in raw.items()
        ]
        asked = WIRE.decode(post({"inputs": inputs}, b"".join(raw.values())), WAGE)
        assert asked.records() == [ROW] * rows

    @given(ODD_ROWS, st.sampled_from([WAGE, TWO]), st.randoms(use_true_random=False))
    def test_one_row_is_read_as_several_are(
        self, row: list[tuple[str, str, Any]], intake: Intake, order: Random
    ) -> None:
        order.shuffle(row)

        def outcome(rows: int) -> list[tuple[Any, ...]] | str:
            inputs = [tensor(name, kind, [rows], [value] * rows) for name, kind, value in row]
            try:
                return WIRE.decode(post({"inputs": inputs}), intake).rows()[:1]
            except Invalid as error:
                return error.what.replace(f"[{rows}]", "[]")

        assert outcome(1) == outcome(2)

    def test_json_and_raw_tensors_in_one_request(self) -> None:
        inputs = [tensor("x0", "FP64", [2], binary_data_size=16), tensor("x1", "INT8", [2, 1], [[3], [4]])]
        asked = WIRE.decode(post({"inputs": inputs}, struct.pack("<2d", 1.5, 2.5)), TWO)
        assert asked.rows() == [(1.5, 3.0), (2.5, 4.0)]

    @pytest.mark.parametrize("rows", [1, 3, 50])
    @pytest.mark.parametrize("name", ["FP32", "FP64", "FP16", "INT16", "UINT8"])
    def test_one_tensor_holds_the_required_columns_in_order(self, rows: int, name: str) -> None:
        kind = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "INT16": "<i2", "UINT8": "<u1"}[name]
        matrix = np.arange(rows * 2).reshape(rows, 2).astype(kind)
        raw = post({"inputs": [tensor("input-0", name, [rows, 2], binary_data_size=matrix.nbytes)]}, matrix.tobytes())
        expected = [tuple(map(float, row)) for row in matrix]
        assert WIRE.decode(raw, TWO).rows() == expected
        if name != "FP16":
            for data in (matrix.tolist(), matrix.reshape(-1).tolist()):
                assert WIRE.decode(post({"inputs": [tensor("any", name, [rows, 2], data)]}), TWO).rows() == expected

    def test_one_tensor_of_texts_holds_columns_too(self) -> None:
        fields = [COLUMNS[3], COLUMNS[4]]
        asked = WIRE.decode(
            post({"inputs": [tensor("all", "BYTES", [1, 2], ["a", "AP8="])]}), Intake(regression(fields))
        )
        assert asked.rows() == [("a", "AP8=")]

    @pytest.mark.parametrize("rows", [1, 12])
    @pytest.mark.parametrize("name", ["image", "input-0"])
    def test_a_column_of_tensors_is_one_tensor(self, rows: int, name: str) -> None:
        intake = Intake(regression([Field(name="image", type="float64", shape=[2, 3])]))
        pixels = np.arange(rows * 6, dtype=np.uint8).reshape(rows, 2, 3)
        asked = WIRE.decode(post({"inputs": [tensor(name, "UINT8", [rows, 2, 3], pixels.tolist())]}), intake)
        assert np.array_equal(np.array([row[0] for row in asked.rows()]), pixels)

    def test_columns_that_are_not_required_may_be_left_out_or_come(self) -> None:
        region = tensor("region", "BYTES", [1], ["north"])
        assert WIRE.decode(post({"inputs": [*columns(), region]}), WAGE).records() == [{**ROW, "region": "north"}]

    @pytest.mark.parametrize("rows", [1, 30])
    def test_a_missing_number_is_null_in_json_and_nan_in_raw_floats(self, rows: int) -> None:
        inputs = columns(rows)
        inputs[1]["data"] = [None] * rows
        assert WIRE.decode(post({"inputs": inputs}), WAGE).records() == [{**ROW, "hours": None}] * rows
        inputs[1] = tensor("hours", "FP32", [rows], binary_data_size=4 * rows)
        raw = struct.pack(f"<{rows}f", *[math.nan] * rows)
        assert WIRE.decode(post({"inputs": inputs}, raw), WAGE).records() == [{**ROW, "hours": None}] * rows

    def test_a_bare_nan_of_a_python_client_is_null(self) -> None:
        inputs = columns()
        inputs[1]["data"] = [math.nan]
        assert b"NaN" in post({"inputs": inputs}).body
        assert WIRE.decode(post({"inputs": inputs}), WAGE).records() == [{**ROW, "hours": None}]

    def test_the_content_types_of_mlserver(self) -> None:
        inputs = columns()
        for at, content in {0: "np", 3: "str", 4: "base64", 5: "datetime", 6: "datetime"}.items():
            inputs[at]["parameters"] = {"content_type": content}
        body = {"inputs": inputs, "parameters": {"content_type": "pd"}}
        assert WIRE.decode(post(body), WAGE).records() == [ROW]

    def test_base64_may_come_as_raw_bytes(self) -> None:
        inputs = columns()
        inputs[4] = tensor("photo", "BYTES", [1], binary_data_size=8, content_type="base64")
        assert WIRE.decode(post({"inputs": inputs}, texts(b"AP8=")), WAGE).records() == [ROW]

    def test_the_length_of_the_head_decides_not_the_content_type(self) -> None:
        inputs = [tensor("x", "FP64", [1, 2], binary_data_size=16)]
        for kind in ("application/json", "application/octet-stream", "text/nonsense"):
            request = post({"inputs": inputs}, struct.pack("<2d", 1, 2), content_type=kind)
            assert WIRE.decode(request, TWO).rows() == [(1.0, 2.0)]
        assert WIRE.decode(post({"inputs": [tensor("x", "FP64", [1, 2], [1, 2])]}), TWO).rows() == [(1.0, 2.0)]


def body(**changed: Any) -> dict[str, Any]:
    return {"inputs": [tensor("x0", "FP64", [2], [1, 2]), tensor("x1", "FP64", [2], [3, 4])], **changed}


def changed(at: int, **parts: Any) -> dict[str, Any]:
    made = body()
    made["inputs"][at].update(parts)
    return {"inputs": [{k: v for k, v in part.items() if v is not ...} for part in made["inputs"]]}


class TestRefusals:
    @pytest.mark.parametrize(
        "request_body, where",
        [
            (changed(1, name="z"), "inputs[1].name"),  # unknown
            (changed(1, name="x0"), "inputs[1].name"),  # twice
            ({"inputs": body()["inputs"][:1]}, "inputs"),  # x1 is missing
            (changed(1, shape=[3]), "inputs[1].shape"),  # other rows
            (changed(0, shape=[2, 2]), "inputs[0].shape"),
            (changed(0, shape=[1]), "inputs[0].data"),  # its data
            (changed(0, shape=[0]), "inputs[0].shape[0]"),
            (changed(0, shape=[-2]), "inputs[0].shape[0]"),
            (changed(0, shape=[2**63]), "inputs[0].shape[0]"),
            (changed(0, shape=[20_000]), "inputs[0].shape[0]"),  # more rows than a request may hold
            (changed(0, shape=[]), "inputs[0].shape"),
            (changed(0, shape="2"), "inputs[0].shape"),
            (changed(0, shape=...), "inputs[0]"),
            (changed(0, name=...), "inputs[0]"),
            (changed(0, datatype=...), "inputs[0]"),
            (changed(0, datatype="FP128"), "inputs[0].datatype"),
            (changed(0, datatype="fp64"), "inputs[0].datatype"),
            (changed(0, datatype="FP16"), "inputs[0].datatype"),
            (changed(0, datatype="BYTES"), "inputs[0].data[0]"),  # the data are numbers
            (changed(0, datatype="BYTES", data=["1", "2"]), "inputs[0].data[0]"),  # the column wants numbers
            (changed(0, datatype="BOOL", data=[True, False]), "inputs[0].data[0]"),
            (changed(0, datatype="INT8", data=[1, 128]), "inputs[0].data[1]"),
            (changed(0, datatype="UINT64", data=[1, 2**64]), "inputs[0].data[1]"),
            (changed(0, data=...), "inputs[0].data"),
            (changed(0, data=[1, "2"]), "inputs[0].data[1]"),
            (changed(0, data=[1, True]), "inputs[0].data[1]"),
            (changed(0, data=[1, [2]]), "inputs[0].data"),
            (changed(0, data=[1, None]), "inputs[0].data[1]"),  # nothing was missing in training
            (changed(0, data={"a": 1}), "inputs[0].data"),
            (changed(0, parameters={"binary_data_size": 16}), "inputs[0].parameters.binary_data_size"),
            (changed(0, parameters={"content_type": "hg_jsonlist"}), "inputs[0].parameters.content_type"),
            (changed(0, parameters={"content_type": "str"}), "inputs[0].parameters.content_type"),
            (changed(0, parameters={"content_type": 7}), "inputs[0].parameters.content_type"),
            (changed(0, parameters=[]), "inputs[0].parameters"),
            (body(parameters={"content_type": "parquet"}), "parameters.content_type"),
            (body(parameters={"binary_data_output": 1}), "parameters.binary_data_output"),
            (body(outputs=[{"name": "wage"}, {"name": "gold"}]), "outputs[1].name"),
            (body(outputs=[{"name": "probabilities"}]), "outputs[0].name"),  # of a regression
            (
                body(outputs=[{"name": "wage", "parameters": {"binary_data": "yes"}}]),
                "outputs[0].parameters.binary_data",
            ),
            (body(id=1.5), "id"),
            ({"inputs": []}, "inputs"),
            ({"inputs": {}}, "inputs"),
            ({}, "inputs"),
            ([], "inputs"),
            (None, "inputs"),
            ({"inputs": [tensor("all", "FP64", [1, 3], [1, 2, 3])]}, "inputs[0].shape"),  # not as many columns
            ({"inputs": [tensor("all", "FP64", [2], [1, 2])]}, "inputs[0].name"),
            ({"inputs": [tensor("all", "FP64", [1, 2], [1, None])]}, "inputs[0].data[0][1]"),
            ({"inputs": [tensor("all", "BYTES", [1, 2], ["a", "b"])]}, "inputs[0].data[0][0]"),
        ],
    )  # fmt: skip
    def test_S13_what_is_wrong_is_pointed_at(self, request_body: Any, where: str) -> None:
        with pytest.raises(Invalid) as error:
            WIRE.decode(post(request_body), TWO)
        assert error.value.where == where

    @pytest.mark.parametrize(
        "raw, says",
        [
            (b"", "JSON"), (b"{", "JSON"), (b"\xff\xfe", "JSON"),
            (b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": ' + b"[" * 100_000, "deep"),
            (b'{"inputs": [{"name": "x0", "shape": [1], "datatype": "FP64", "data": [Infinity]}]}', "JSON"),
            (b'{"id": 1, "id": 1, "inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}]}', "twice"),
            (b'{"inputs": [{"name": "a", "name": "x0", "shape": [1], "datatype": "FP64", "data": [1]}]}', "twice"),
            (b'{"id": ' + b"9" * 5000 + b', "inputs": []}', "not as it should be"),
            (b'{"inputs": [{"name": "\\ud800", "shape": [1], "datatype": "FP64", "data": [1]}]}', "surrogate"),
        ],
    )  # fmt: skip
    def test_S13_broken_json(self, raw: bytes, says: str) -> None:
        with pytest.raises(Invalid, match=says):
            WIRE.decode(post(raw), TWO)

    @pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000])
    def test_S13_numbers_beyond_their_type(self, number: str) -> None:
        made = json.dumps(changed(0, data=["N", 1])).replace('"N"', number).encode()
        with pytest.raises(Invalid, match="range") as error:
            WIRE.decode(post(made), TWO)
        assert error.value.where == "inputs[0].data[0]"

    @pytest.mark.parametrize("rows", [1, 40])
    def test_raw_infinities_are_refused_in_columns_and_in_tensors(self, rows: int) -> None:
        raw = struct.pack(f"<{2 * rows}d", *[math.inf] * 2 * rows)
        with pytest.raises(Invalid, match="range") as error:
            WIRE.decode(post({"inputs": [tensor("x", "FP64", [rows, 2], binary_data_size=len(raw))]}, raw), TWO)
        assert error.value.where == "inputs[0].data[0][0]"
        intake = Intake(regression([Field(name="x", type="float64", shape=[2])]))
        with pytest.raises(Invalid, match="range"):
            WIRE.decode(post({"inputs": [tensor("x", "FP64", [rows, 2], binary_data_size=len(raw))]}, raw), intake)

    def test_bytes_that_are_not_utf8_are_told_by_element(self) -> None:
        inputs = columns(2)
        raw = texts(b"ok", b"\xff\xfe")
        inputs[3] = tensor("sector", "BYTES", [2], binary_data_size=len(raw))
        with pytest.raises(Invalid, match="UTF-8") as error:
            WIRE.decode(post({"inputs": inputs}, raw), WAGE)
        assert error.value.where == "inputs[3].data[1]"

    @pytest.mark.parametrize("length", ["-1", "0", "99999", "1e3", "", "9" * 400, "\u00b2"])
    def test_S12_the_length_of_the_head_may_lie(self, length: str) -> None:
        request = post(body(), b"", inference_header_content_length="1")
        request.headers[b"inference-header-content-length"] = length.encode("latin-1")
        with pytest.raises(Invalid) as error:
            WIRE.decode(request, TWO)
        assert error.value.where == "Inference-Header-Content-Length"

    @pytest.mark.parametrize(
        "size, rest, where",
        [
            (16, 15, "inputs[0].parameters.binary_data_size"),
            (2**62, 16, "inputs[0].parameters.binary_data_size"),
            (-1, 16, "inputs[0].parameters.binary_data_size"),
            (True, 16, "inputs[0].parameters.binary_data_size"),
            ("16", 16, "inputs[0].parameters.binary_data_size"),
            (16, 17, "inputs"),
            (8, 16, "inputs"),
            (8, 8, "inputs[0].shape"),
            (0, 0, "inputs[0].shape"),
        ],
    )
    def test_S12_sizes_of_raw_tensors_may_lie(self, size: Any, rest: int, where: str) -> None:
        with pytest.raises(Invalid) as error:
            WIRE.decode(post({"inputs": [tensor("x", "FP64", [1, 2], binary_data_size=size)]}, bytes(rest)), TWO)
        assert error.value.where == where

    def test_a_tensor_has_data_or_raw_bytes(self) -> None:
        both = tensor("x", "FP64", [1, 2], [1, 2], binary_data_size=16)
        with pytest.raises(Invalid, match="not both"):
            WIRE.decode(post({"inputs": [both]}, bytes(16)), TWO)

    @pytest.mark.parametrize("status, sent", [(422, 400), (400, 400), (404, 404), (413, 413), (503, 503)])
    def test_errors_have_the_shape_that_clients_show(self, status: int, sent: int) -> None:
        made = WIRE.refuse(status, "ANY", "column 'z' is unknown", "inputs[1].name", "r1")
        assert made.status == sent
        assert json.loads(made.body) == {"error": "column 'z' is unknown (at inputs[1].name) [request r1]"}


class TestAnswers:
    def test_a_regression_is_one_tensor_of_numbers(self) -> None:
        made = told(reply(post(body(id="a7")), TWO, 1.5, None, errors=[None, "it failed"]))
        assert made == {
            "model_name": "wage",
            "model_version": "3",
            "id": "a7",
            "parameters": {
                "prediction_id": FIRST, "endpoint": "wage", "arm": "live", "errors": '[null,"it failed"]',
            },
            "outputs": [{"name": "wage", "shape": [2], "datatype": "FP64", "data": [1.5, None]}],
        }  # fmt: skip

    @pytest.mark.parametrize("sent, echoed", [("a7", "a7"), (7, "7"), ("", ""), (None, FIRST)])
    def test_an_id_always_comes_back_as_text(self, sent: Any, echoed: str) -> None:
        assert told(reply(post(body(id=sent)), TWO, 1.0, 2.0))["id"] == echoed

    @pytest.mark.parametrize(
        "classes, kind, datatype", [
            (["no", "yes"], "string", "BYTES"), ([0, 1], "int64", "INT64"), ([False, True], "bool", "BOOL"),
            ([0.5, 1.5], "float64", "FP64"),
        ],
    )  # fmt: skip
    def test_a_classification_is_labels_and_probabilities(self, classes: list[Any], kind: str, datatype: str) -> None:
        intake = Intake(classification(classes, kind))
        request = post({"inputs": [tensor("m", "FP64", [2, 2], [1, 2, 3, 4])]})
        made = told(reply(request, intake, *classes, classes=classes, probabilities=[[0.75, 0.25], [0.5, 0.5]]))
        label, probabilities = made["outputs"]
        assert (label["name"], label["datatype"], label["shape"], label["data"]) == ("digit", datatype, [2], classes)
        assert probabilities["data"] == [0.75, 0.25, 0.5, 0.5]
        assert probabilities["shape"] == [2, 2]
        assert json.loads(probabilities["parameters"]["classes"]) == classes

    def test_a_whole_label_that_is_missing_is_never_a_wrong_number(self) -> None:
        intake = Intake(classification([0, 1], "int64"))
        request = post(
            {"inputs": [tensor("m", "FP64", [2, 2], [1, 2, 3, 4])], "parameters": {"binary_data_output": True}}
        )
        made = reply(request, intake, 1, None, classes=[0, 1], probabilities=[[0.1, 0.9], None])
        head, raw = split(made)
        assert head["outputs"][0]["datatype"] == "FP64"
        assert np.isnan(np.frombuffer(raw["digit"])).tolist() == [False, True]
        assert np.isnan(np.frombuffer(raw["probabilities"])).tolist() == [False, False, True, True]

    def test_outputs_select_and_order(self) -> None:
        intake = Intake(classification(["no", "yes"]))
        request = post({
            "inputs": [tensor("m", "FP64", [2, 2], [1, 2, 3, 4])],
            "outputs": [{"name": "version"}, {"name": "prediction_id"}, {"name": "digit"}, {"name": "interval"}],
        })  # fmt: skip
        made = told(reply(request, intake, "no", "yes", classes=["no", "yes"], probabilities=[[1, 0], [0, 1]]))
        assert [(output["name"], output["datatype"], output["data"]) for output in made["outputs"]] == [
            ("version", "INT64", [3, 3]), ("prediction_id", "BYTES", row_ids(FIRST, 2)),
            ("digit", "BYTES", ["no", "yes"]),
        ]  # fmt: skip

    def test_intervals_sets_and_flags(self) -> None:
        made = told(reply(post(body()), TWO, 1.0, 2.0, intervals=[[0.5, 1.5], None], flags=[[], [fired("x1")]]))
        assert made["outputs"][1] == {
            "name": "interval", "shape": [2, 2], "datatype": "FP64", "data": [0.5, 1.5, None, None],
        }  # fmt: skip
        assert json.loads(made["parameters"]["flags"])[1][0]["column"] == "x1"
        intake = Intake(classification(["no", "yes"]))
        request = post({"inputs": [tensor("m", "FP64", [2, 2], [1, 2, 3, 4])]})
        made = told(reply(request, intake, "no", "yes", classes=["no", "yes"], sets=[["no", "yes"], ["yes"]]))
        assert made["outputs"][1]["data"] == [True, True, False, True]

    def test_rows_answered_by_two_versions_say_so(self) -> None:
        made = told(reply(post(body()), TWO, 1.0, 2.0, versions=[3, 4], arms=["live", "canary"]))
        assert made["model_version"] == "3"
        assert (made["parameters"]["versions"], made["parameters"]["arms"]) == ("[3,4]", '["live","canary"]')

    def test_raw_outputs_are_framed_as_raw_inputs_are(self) -> None:
        intake = Intake(classification(["no", "yés"]))
        request = post({
            "inputs": [tensor("m", "FP64", [2, 2], [1, 2, 3, 4])],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "digit"}],
        })  # fmt: skip
        made = reply(request, intake, "no", "yés", classes=["no", "yés"], probabilities=[[1, 0], [0.25, 0.75]])
        head, raw = split(made)
        assert raw == {"probabilities": struct.pack("<4d", 1, 0, 0.25, 0.75)}
        assert head["outputs"][1]["data"] == ["no", "yés"]
        request = post({
            "inputs": [tensor("m", "FP64", [2, 2], [1, 2, 3, 4])], "parameters": {"binary_data_output": True},
        })  # fmt: skip
        _, raw = split(reply(request, intake, "no", "yés", classes=["no", "yés"]))
        assert raw == {"digit": b"\x02\0\0\0no\x04\0\0\0y\xc3\xa9s"}

    @pytest.mark.parametrize("status", [500, 503, 504])
    def test_a_request_that_no_row_of_was_answered_is_an_error(self, status: int) -> None:
        request = post(body())
        WIRE.decode(request, TWO)
        made = WIRE.encode(answer([None, None], status=status, message="not now"), request, TWO)
        assert made.status == status
        assert json.loads(made.body)["error"].startswith("not now")


def split(made: Reply) -> tuple[dict[str, Any], dict[str, bytes]]:
    """An answer in the binary framing, taken apart as the protocol says."""
    length = int(dict(made.headers)[b"inference-header-content-length"])
    head, rest = json.loads(made.body[:length]), made.body[length:]
    raw: dict[str, bytes] = {}
    for output in head["outputs"]:
        if "data" not in output:
            size = output["parameters"]["binary_data_size"]
            raw[output["name"]], rest = rest[:size], rest[size:]
    assert rest == b""
    return head, raw


class TestServer:
    STATE = ServerState(
        version="1.2",
        is_ready=False,
        models=(
            ModelState(name="wage", versions=("3", "2"), state="READY", signature=regression(), counts=Counts(rows=9)),
            ModelState(
                name="digits", versions=(), state="LOADING", reason="it warms up",
                signature=classification(["no", "yes"]),
            ),
        ),
    )  # fmt: skip

    def ask(self, path: str, body: bytes = b"") -> Any:
        target = target_of(path)
        assert target is not None
        return json.loads(tell(target, self.STATE, body).body)

    def test_the_server_tells_of_itself(self) -> None:
        for path in ("/v2", "/v2/"):
            assert self.ask(path)["extensions"] == [
                "binary_tensor_data",
                "model_repository",
                "parameters",
                "statistics",
            ]
        assert self.ask("/v2/health/live") == {"live": True}
        ready = target_of("/v2/health/ready")
        assert ready is not None
        assert tell(ready, self.STATE).status == 503
        assert self.ask("/v2/models") == {"models": ["wage", "digits"]}

    def test_metadata_are_the_signature(self) -> None:
        made = self.ask("/v2/models/wage")
        assert made["versions"] == ["3", "2"]
        assert made["inputs"][1] == {
            "name": "hours", "datatype": "FP64", "shape": [-1], "parameters": {"nullable": True},
        }  # fmt: skip
        assert made["inputs"][4]["parameters"] == {"content_type": "base64"}
        assert made["inputs"][7]["parameters"] == {"content_type": "str", "required": False}
        assert made["outputs"] == [{"name": "wage", "datatype": "FP64", "shape": [-1]}]
        assert self.ask("/v2/models/wage/versions/2")["versions"] == ["2"]
        assert [output["shape"] for output in self.ask("/v2/models/digits")["outputs"]] == [[-1], [-1, 2]]

    def test_readiness_of_a_model(self) -> None:
        assert self.ask("/v2/models/wage/ready") == {"name": "wage", "ready": True}
        assert self.ask("/v1/models/wage") == {"name": "wage", "ready": True}
        for path in ("/v2/models/digits/ready", "/v1/models/digits"):
            with pytest.raises(Unavailable, match="warms up"):
                self.ask(path)

    @pytest.mark.parametrize("path", ["/v2/models/gold", "/v2/models/wage/versions/9", "/v2/models/gold/stats"])
    def test_what_is_not_there_is_not_found(self, path: str) -> None:
        with pytest.raises(NotFound):
            self.ask(path)

    def test_the_repository_is_told_and_not_changed(self) -> None:
        every = self.ask("/v2/repository/index")
        assert [(model["name"], model["version"], model["state"]) for model in every] == [
            ("wage", "3", "READY"), ("wage", "2", "READY"), ("digits", "", "LOADING"),
        ]  # fmt: skip
        assert len(self.ask("/v2/repository/index", b'{"ready": true}')) == 2
        with pytest.raises(Invalid):
            self.ask("/v2/repository/index", b'{"ready": 1}')
        for verb in ("load", "unload"):
            with pytest.raises(Conflict):
                self.ask(f"/v2/repository/models/wage/{verb}")

    def test_statistics(self) -> None:
        assert [model["name"] for model in self.ask("/v2/models/stats")["model_stats"]] == ["wage", "digits"]
        assert self.ask("/v2/models/wage/stats")["model_stats"][0]["inference_count"] == 9

    @pytest.mark.parametrize(
        "path",
        ["/v3", "/v2/health", "/v2/models/", "/v2/models/a/b", "/v2/models/a/versions", "/v2/models//infer", "v2", "/",
         "/v2/models/a/versions/1/infer/x", "/v1/models/:predict", "/v1/models/a:b", "/v1/models/a/b", "/v2/repo"],
    )  # fmt: skip
    def test_other_paths_are_none_of_ours(self, path: str) -> None:
        target = target_of(path)
        assert target is None or target.verb == "models"
