"""Run the demo as a user would, and kill processes of its tree while it lives."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

LIMIT_S = 600.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "perennial", *arguments]


def live(folder: Path, *options: str) -> str:
    """The demo, undisturbed; what it printed."""
    done = subprocess.run(
        command("demo", str(folder), *options), capture_output=True, text=True, timeout=LIMIT_S, env=environment()
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def live_through_kills(folder: Path, *options: str, kills: int, seed: int, within_s: float) -> list[str]:
    """The demo, while processes drawn from its real tree are killed at random moments; the names of the killed."""
    draw = random.Random(seed)
    moments = sorted(draw.uniform(0.15, 1.0) * within_s for _ in range(kills))
    log = folder.with_suffix(".log").open("wb")
    killed: list[str] = []
    began = time.monotonic()
    with subprocess.Popen(command("demo", str(folder), *options), stdout=log, stderr=log, env=environment()) as demo:
        try:
            while demo.poll() is None:
                if moments and time.monotonic() - began > moments[0]:
                    victim = chosen(demo.pid, draw)
                    if victim is not None:
                        moments.pop(0)
                        killed.append(victim)
                assert time.monotonic() - began < LIMIT_S, f"the demo does not end; killed {killed}"
                time.sleep(0.01)
        finally:
            if demo.poll() is None:
                for child in [*psutil.Process(demo.pid).children(recursive=True), psutil.Process(demo.pid)]:
                    child.kill()
    log.close()
    assert demo.returncode == 0, f"killed {killed} (seed {seed}): {said(folder)}"
    return killed


def said(folder: Path) -> str:
    """The last words of the demo and of every process of its tree."""
    logs = [folder.with_suffix(".log"), *sorted((folder / ".perennial" / "logs").glob("*.log"))]
    return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)


def chosen(demo: int, draw: random.Random) -> str | None:
    """Kill one process below the demo, once there are any; what it was."""
    try:
        tree = sorted(psutil.Process(demo).children(recursive=True), key=lambda process: process.pid)
        victim = draw.choice(tree) if len(tree) > 1 else None
        if victim is None:
            return None
        name = " ".join(part for part in victim.cmdline() if part.startswith("perennial") or part in {"up", "demo"})
        os.kill(victim.pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None
    return name or "?"


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
