"""Types are decoded and converted to by many threads at once."""

from __future__ import annotations

import gc
import subprocess
import sys

import msgspec

from perennial.store import decoding
from perennial.store.decoding import ready

# Without `ready` most of these processes crash: each thread is the first to meet a type.
MANY = """
import sys, threading, types
import msgspec
from perennial.store.decoding import ready
sys.setswitchinterval(1e-6)
SOURCE = '''
from __future__ import annotations
import msgspec
class Inner(msgspec.Struct):
    x: int = 0
    y: dict[str, tuple[str, int]] = {}
class Outer(msgspec.Struct):
    a: list[Inner] = []
    b: Inner | None = None
    d: tuple[int, str, float] | None = None
'''
def meet(module, barrier, failed):
    barrier.wait()
    try:
        told = msgspec.json.decode(b'{"a": [{"x": 1}], "b": {"x": 2}}', type=ready(module.Outer))
        assert (told.a[0].x, msgspec.convert({"x": 3}, ready(module.Inner)).x) == (1, 3)
    except BaseException as error:
        failed.append(error)
for number in range(300):
    module = sys.modules[f"m{number}"] = types.ModuleType(f"m{number}")
    exec(SOURCE, module.__dict__)
    barrier, failed = threading.Barrier(4), []
    threads = [threading.Thread(target=meet, args=(module, barrier, failed)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert not failed, failed
print("well")
"""


def test_threads_that_meet_a_type_at_once_all_get_its_values() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", MANY], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


def test_a_type_that_nobody_has_any_more_is_let_go() -> None:
    known = len(decoding._classes)
    ready(msgspec.defstruct("Passing", [("x", int)]))
    gc.collect()
    assert len(decoding._classes) <= known
