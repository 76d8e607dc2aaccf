"""What a run would record of this machine and its GPUs: three measurements, one a second. Needs nvidia-ml-py for GPUs.

python benchmarks/gpu_look.py
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from perennial.tracking.system_metrics import Machine, find_gpus

if __name__ == "__main__":
    gpus, machine = find_gpus(), Machine()
    for _ in range(3):
        time.sleep(1)
        began = time.perf_counter()
        found = machine.measure() | (gpus.measure() if gpus else {})
        print(json.dumps(found | {"taken_ms": 1e3 * (time.perf_counter() - began)}))
    if gpus is None:
        sys.exit("no GPU was found: is nvidia-ml-py installed, and a driver there?")
