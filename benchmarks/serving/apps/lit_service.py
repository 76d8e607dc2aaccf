"""LitServe, a call for each request or batches of up to 64 that wait 5 ms: python lit_service.py PORT plain|batched"""

import os
import sys

import joblib
import litserve
import numpy as np

BATCHED = sys.argv[2:] == ["batched"]


class Service(litserve.LitAPI):
    def setup(self, device):
        self._model = joblib.load(os.environ["MODEL"])

    def decode_request(self, request):
        return np.asarray(request["inputs"][0] if BATCHED else request["inputs"], dtype=np.float64)

    def predict(self, rows):
        return self._model.predict(rows)

    def encode_response(self, output):
        return {"predictions": np.atleast_1d(output).tolist()}


if __name__ == "__main__":
    service = Service(max_batch_size=64, batch_timeout=0.005) if BATCHED else Service()
    server = litserve.LitServer(service, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
