"""Ray Serve, one replica, a call for each request or batches up to 64: python ray_service.py PORT plain|batched"""

import os
import sys
import time

import joblib
import numpy as np
import ray
from ray import serve

BATCHED = sys.argv[2:] == ["batched"]


@serve.deployment(num_replicas=1, max_ongoing_requests=1024, ray_actor_options={"num_cpus": 0.5})
class Service:
    def __init__(self, path):
        self._model = joblib.load(path)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.005)
    async def _many(self, rows):
        return self._model.predict(np.asarray(rows)).tolist()

    async def __call__(self, request):
        rows = (await request.json())["inputs"]
        if BATCHED:
            return {"predictions": [await self._many(rows[0])]}
        return {"predictions": self._model.predict(np.asarray(rows)).tolist()}


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"enable_access_log": False})
serve.run(Service.bind(os.environ["MODEL"]))
while True:
    time.sleep(1)
