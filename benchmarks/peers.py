"""The peers, in environments of their own below `.peers`, installed when first needed.

What cannot be installed is left out.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from measure import say

HERE = Path(__file__).parent / ".peers"
INSTALL_S = 400.0
# Every tool's own switches against sending anything anywhere.
SILENT = {"DVC_NO_ANALYTICS": "1", "HAMILTON_TELEMETRY_ENABLED": "false", "DO_NOT_TRACK": "1"}


def python_of(name: str, *packages: str) -> Path | None:
    """The interpreter of the environment with these packages; None when they cannot be installed."""
    folder = HERE / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    if stamp.exists():
        return python
    say(f"installing {' '.join(packages)}")
    venv.create(folder, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *packages]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        return _left_out(name, "it took too long")
    if done.returncode:
        return _left_out(name, (done.stderr.strip().splitlines() or ["pip failed"])[-1])
    stamp.write_text(" ".join(packages), encoding="utf-8")
    return python


def version_of(python: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _left_out(name: str, why: str) -> None:
    print(f"{name} is left out: {why}", file=sys.stderr)
