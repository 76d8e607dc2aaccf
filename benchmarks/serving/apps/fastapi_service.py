"""What a careful person writes by hand: FastAPI and orjson around a model, no model validation in the way."""

import os

import joblib
import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

model = joblib.load(os.environ["MODEL"])
app = FastAPI()


@app.get("/health")
def health() -> dict[str, bool]:
    return {"ok": True}


@app.post("/predict")
async def predict(request: Request) -> Response:
    rows = np.array(orjson.loads(await request.body())["inputs"], dtype=np.float64)
    return Response(orjson.dumps({"predictions": model.predict(rows).tolist()}), media_type="application/json")
