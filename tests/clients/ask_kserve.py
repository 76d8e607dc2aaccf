"""Run by an interpreter with `kserve`: asks a service over both protocols, writes what it found.

ask_kserve.py HTTP GRPC ROWS.json OUT.json
"""

import asyncio
import json
import sys
from pathlib import Path

import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

http_address, grpc_address, rows, out = sys.argv[1:]
X = np.array(json.loads(Path(rows).read_text()))
URL = f"http://{http_address}"
found = {}


def request(x, **options):
    made = InferInput("input-0", list(x.shape), "FP64")
    made.set_data_from_numpy(x, **options)
    return InferRequest("digits", [made], request_id="r7")


def digits(made):
    labels, probabilities = made.get_output_by_name("digit"), made.get_output_by_name("probabilities")
    return {
        "labels": labels.as_numpy().tolist(), "probabilities": probabilities.as_numpy().tolist(), "id": made.id,
    }  # fmt: skip


async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    found["live"] = [
        await client.is_server_live(URL), await client.is_server_ready(URL), await client.is_model_ready(URL, "digits"),
    ]  # fmt: skip
    for binary in (False, True):
        made = await client.infer(URL, request(X, binary_data=binary), model_name="digits")
        found["binary" if binary else "json"] = digits(made)
    try:
        await client.infer(URL, request(X[:, :63], binary_data=False), model_name="digits")
    except httpx.HTTPStatusError as error:
        found["refusal"] = [error.response.status_code, str(error)]
    await client.close()

    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    found["v1 ready"] = await client.is_model_ready(URL, "digits")
    found["v1"] = await client.infer(URL, {"instances": X.tolist()}, model_name="digits")
    found["v1 wage"] = await client.infer(
        URL, {"instances": [{"person": "p1", "x": 1.5}, {"person": "p2", "x": 2.5}]}, model_name="wage"
    )
    try:
        await client.infer(URL, {"instances": [[1.0]]}, model_name="digits")
    except httpx.HTTPStatusError as error:
        found["v1 refusal"] = [error.response.status_code, str(error)]
    await client.close()

    client = InferenceGRPCClient(grpc_address)
    found["grpc live"] = [
        await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready("digits"),
    ]  # fmt: skip
    for binary in (False, True):  # typed contents, raw contents
        made = await client.infer(infer_request=request(X, binary_data=binary))
        found["grpc raw" if binary else "grpc typed"] = digits(made)
    await client.close()


asyncio.run(main())
Path(out).write_text(json.dumps(found, default=str))
