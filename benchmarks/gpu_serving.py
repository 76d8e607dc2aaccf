"""The prediction service on a real graphics card: answers, too many rows, a card without memory, a card that is lost.

    python benchmarks/gpu_serving.py

Needs PyTorch and a card. A network is served with `--device cuda` and asked over HTTP; what it answers is compared with
the same network on the CPU. Then its card's memory is taken away by another process, and a row makes the card fail for
good, as a wrong index in a kernel does. One line for each, exit code 1 when something did not hold.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gpu_network
import msgspec
import numpy as np
import pyarrow as pa
import torch
from service import Running, Workspace, until

from perennial.models.build import SourceCode
from perennial.models.preparation import learn
from perennial.serve.spec import Arm, EndpointSpec

ROWS, MANY = 200, 5_000
TAKE = """
import sys, time, torch
free, _ = torch.cuda.mem_get_info()
held = []
for size in (2**30, 2**26, 2**22):
    try:
        while True:
            held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError:
        pass
print("held", flush=True)
sys.stdin.read()
"""
failed: list[str] = []


def say(must: str, is_held: bool, seen: str) -> None:
    print(f"{'held    ' if is_held else 'NOT HELD'} {must}: {seen}", flush=True)
    if not is_held:
        failed.append(must)


def main() -> int:
    print(torch.__version__, torch.cuda.get_device_name(0), flush=True)
    network = gpu_network.Network().eval()
    table = _table()
    preparation = learn(table, target="y", key="person")
    code = SourceCode(module="gpu_network", features=None, files={"gpu_network.py": _code()})
    with tempfile.TemporaryDirectory() as folder:
        for name, check in (("answers", answers), ("memory", memory), ("lost", lost), ("strict", strict)):
            workspace = Workspace(Path(folder) / name)
            package = workspace.package(network, preparation, table, code, version=1)
            signature = msgspec.to_builtins(preparation.signature)
            arm = Arm(version=1, package=package, trusted=True)
            workspace.desire(EndpointSpec(name="net", task="regression", signature=signature, salt="s", live=arm))
            options = ("--device", "cuda", *(("--no-device-fallback",) if name == "strict" else ()))
            with workspace.serve(*options) as running:
                try:
                    workspace.applied(running)
                    check(running, network)
                except SystemExit as why:
                    say(name, is_held=False, seen=f"{why}; {running.log()[-1500:]}")
    return 1 if failed else 0


def answers(running: Running, network: Any) -> None:
    """Right answers, computed on the card; a batch of many rows."""
    xs = list(range(ROWS))
    status, told = running.predict("net", *map(_row, xs))
    found = [one["prediction"] for one in told["predictions"]] if status == 200 else []
    worst = _worst(network, xs, found)
    say("answers as on the CPU", worst < 1e-4, f"{status}, largest relative difference {worst:.1e}")
    users = _on_card()
    pids = {process.pid for process in running.of("perennial.serve.worker")}
    say("its worker is on the card", bool(pids & users) or not users, f"workers {pids}, on the card {users}")
    took = []
    for x in xs:
        began = time.perf_counter()
        running.predict("net", _row(x))
        took.append(time.perf_counter() - began)
    say("one row", is_held=True, seen=f"median {np.median(took) * 1e3:.2f} ms")
    began = time.perf_counter()
    status, told = running.predict("net", *(_row(x % ROWS) for x in range(MANY)))
    say(f"{MANY:,} rows", status == 200, f"{status} after {time.perf_counter() - began:.2f} s")


def memory(running: Running, network: Any) -> None:
    """Another process takes all memory of the card: the row is answered all the same, on the CPU."""
    taking = subprocess.Popen([sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert taking.stdout is not None
        taking.stdout.readline()
        # One row of this value needs a gigabyte on the way.
        _answered_on_the_cpu(running, network, gpu_network.LARGE, "a card without memory")
    finally:
        taking.kill()
        taking.wait()


def lost(running: Running, network: Any) -> None:
    """A kernel that fails ends the use of the card in that process: the row is at fault there, the others are not."""
    began = time.perf_counter()
    status, told = running.predict("net", _row(gpu_network.POISON))
    took = time.perf_counter() - began
    say(
        "the row that loses the card is told its error", status == 500, f"{status} {str(told)[:160]} after {took:.1f} s"
    )
    _answered_on_the_cpu(running, network, 7, "a lost card")


def strict(running: Running, network: Any) -> None:
    """Without leave to fall back the next process tries the card again."""
    status, told = running.predict("net", _row(gpu_network.POISON))
    say("no fallback: 503", status == 503, f"{status} {str(told)[:160]}")
    until(lambda: running.answers("net", _row(7)), "an answer from the card again", 60.0)
    said = running.status().endpoints["net"].lost
    say("no fallback: the card answers again", bool(said), str(said)[:160])


def _answered_on_the_cpu(running: Running, network: Any, x: int, what: str) -> None:
    began = time.perf_counter()
    status, told = running.predict("net", _row(x))
    took = time.perf_counter() - began
    found = [told["predictions"][0]["prediction"]] if status == 200 else []
    worst = _worst(network, [x], found)
    said = running.status().endpoints["net"].lost
    say(f"{what}: the row is answered", worst < 1e-4, f"{status} after {took:.1f} s, difference {worst:.1e}")
    say(f"{what}: the status says so", bool(said), str(said)[:200])
    pids = {process.pid for process in running.of("perennial.serve.worker")}
    say(f"{what}: the new worker leaves the card alone", not pids & _on_card(), f"{pids}")


def _row(x: int) -> dict[str, Any]:
    return {"person": f"p{x}", "x": float(x)}


def _worst(network: Any, xs: list[int], found: list[float]) -> float:
    if len(found) != len(xs):
        return float("inf")
    with torch.no_grad():
        wanted = network(torch.tensor([[float(x)] for x in xs])).numpy().reshape(-1)
    return float(np.max(np.abs(np.array(found) - wanted) / np.maximum(np.abs(wanted), 1e-3)))


def _on_card() -> set[int]:
    """Processes that use the card, as far as the driver tells."""
    query = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    told = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    return {int(line) for line in told.split() if line.strip().isdigit()}


def _table() -> Any:
    x = np.arange(ROWS, dtype=np.float64)
    return pa.table({"person": [f"p{i}" for i in range(ROWS)], "x": x, "y": x * 0.5})


def _code() -> bytes:
    return Path(gpu_network.__file__).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
