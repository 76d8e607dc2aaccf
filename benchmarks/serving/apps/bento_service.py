"""BentoML, a call for each request and adaptive batches."""

import os

import bentoml
import joblib
import numpy as np

ONE = {"workers": 1, "traffic": {"timeout": 60, "max_concurrency": 1000}, "metrics": {"enabled": False}}


@bentoml.service(**ONE)
class Plain:
    def __init__(self) -> None:
        self._model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return self._model.predict(inputs)


@bentoml.service(**ONE)
class Batched:
    def __init__(self) -> None:
        self._model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return self._model.predict(inputs)
