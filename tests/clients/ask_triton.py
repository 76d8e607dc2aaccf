"""Run by an interpreter with `tritonclient`: asks a service in every way that the client has, writes what it found.

ask_triton.py HTTP GRPC ROWS.json OUT.json
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

http_address, grpc_address, rows, out = sys.argv[1:]
X = np.array(json.loads(Path(rows).read_text()))
found = {}


def digits(made):
    """Labels, probabilities and what stands beside them."""
    return {"labels": made.as_numpy("digit").tolist(), "probabilities": made.as_numpy("probabilities").tolist()}


def refused(call):
    try:
        call()
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    return None


def matrix(kinds, x, **options):
    made = kinds.InferInput("input-0", list(x.shape), "FP64" if x.dtype == np.float64 else "FP32")
    made.set_data_from_numpy(x, **options)
    return made


def wage(kinds, **options):
    """A tensor for each column: text and a number."""
    person, x = kinds.InferInput("person", [2], "BYTES"), kinds.InferInput("x", [2, 1], "FP64")
    person.set_data_from_numpy(np.array(["Zoë".encode(), b"p2"], dtype=object), **options)
    x.set_data_from_numpy(np.array([[1.5], [2.5]]), **options)
    return [person, x]


kinds = tritonclient.http
client = kinds.InferenceServerClient(http_address)
found["live"] = [client.is_server_live(), client.is_server_ready(), client.is_model_ready("digits")]
found["unready"] = client.is_model_ready("gold")
found["server"] = client.get_server_metadata()
found["model"] = client.get_model_metadata("digits")
found["index"] = client.get_model_repository_index()
for binary in (False, True):
    outputs = [kinds.InferRequestedOutput(name, binary_data=binary) for name in ("digit", "probabilities")]
    name = "binary" if binary else "json"
    found[name] = digits(client.infer("digits", [matrix(kinds, X, binary_data=binary)], outputs=outputs))
    one = client.infer("digits", [matrix(kinds, X[:1], binary_data=binary)], outputs=outputs, request_id="r7")
    found[f"{name} one"] = {**digits(one), "id": one.get_response()["id"]}
    made = client.infer("wage", wage(kinds, binary_data=binary))
    found[f"{name} wage"] = {"values": made.as_numpy("wage").tolist(), "response": made.get_response()}
found["default"] = digits(client.infer("digits", [matrix(kinds, X)]))
for algorithm in ("gzip", "deflate"):
    found[algorithm] = digits(
        client.infer("digits", [matrix(kinds, X)], request_compression_algorithm=algorithm,
                     response_compression_algorithm=algorithm)
    )  # fmt: skip
found["version"] = client.infer("digits", [matrix(kinds, X[:1])], model_version="7").get_response()["model_version"]
found["http refusals"] = {
    "model": refused(lambda: client.infer("gold", [matrix(kinds, X)])),
    "version": refused(lambda: client.infer("digits", [matrix(kinds, X)], model_version="99")),
    "shape": refused(lambda: client.infer("digits", [matrix(kinds, X[:, :63])])),
    "infinite": refused(lambda: client.infer("digits", [matrix(kinds, np.full((1, 64), np.inf))])),
    "load": refused(lambda: client.load_model("digits")),
    "late": refused(lambda: client.infer("digits", [matrix(kinds, X)], timeout=1)),
}
found["stats"] = client.get_inference_statistics("digits")
client.close()

kinds = tritonclient.grpc
client = kinds.InferenceServerClient(grpc_address)
found["grpc live"] = [client.is_server_live(), client.is_server_ready(), client.is_model_ready("digits")]
found["grpc server"] = client.get_server_metadata(as_json=True)
found["grpc model"] = client.get_model_metadata("digits", as_json=True)
found["grpc"] = digits(client.infer("digits", [matrix(kinds, X)]))
one = client.infer("digits", [matrix(kinds, X[:1].astype(np.float32))], request_id="r7", client_timeout=30)
found["grpc one"] = {**digits(one), "id": one.get_response().id}
found["grpc wage"] = client.infer("wage", wage(kinds)).as_numpy("wage").tolist()
found["grpc gzip"] = digits(client.infer("digits", [matrix(kinds, X)], compression_algorithm="gzip"))
found["grpc refusals"] = {
    "model": refused(lambda: client.infer("gold", [matrix(kinds, X)])),
    "version": refused(lambda: client.infer("digits", [matrix(kinds, X)], model_version="99")),
    "shape": refused(lambda: client.infer("digits", [matrix(kinds, X[:, :63])])),
}
keyed = [
    client.infer("wage", wage(kinds), headers={"idempotency-key": "k1"}).get_response().parameters["prediction_id"]
    for _ in range(3)
]
found["grpc keyed"] = [said.string_param for said in keyed]
found["grpc stats"] = client.get_inference_statistics("digits", as_json=True)
found["grpc index"] = client.get_model_repository_index(as_json=True)
found["grpc refusals"]["load"] = refused(lambda: client.load_model("digits"))
found["grpc refusals"]["late"] = refused(lambda: client.infer("digits", [matrix(kinds, X)], timeout=1))
client.close()

Path(out).write_text(json.dumps(found, default=str))
