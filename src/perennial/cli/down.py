"""`perennial down`: stop what `up` runs, in order."""

from __future__ import annotations

import argparse
import os
import signal
import time

from perennial.cli.output import common, emit, progress
from perennial.errors import Failure

__all__ = ["arguments", "run"]

PATIENCE_S = 90.0


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)


def run(options: argparse.Namespace) -> int:
    import psutil

    from perennial.api.connect import find_folder
    from perennial.supervise.upfile import read_up, tree_is_up
    from perennial.tracking.process import process_lives, process_name

    folder, _ = find_folder(options.home)
    up = read_up(folder.root)
    if up is None:
        emit(options, {"stopped": None}, ["nothing is up here"])
        return 0
    try:
        process = process_name(up.pid)
        os.kill(up.pid, signal.SIGTERM)
    except (psutil.NoSuchProcess, ProcessLookupError):  # it ended by itself just now
        emit(options, {"stopped": None}, ["nothing is up here"])
        return 0
    ends = time.monotonic() + PATIENCE_S
    with progress(f"process {up.pid} finishes what it was asked"):
        while tree_is_up(folder.root) or process_lives(process):  # it lets go of the workspace just before it ends
            if time.monotonic() > ends:
                raise Failure(f"process {up.pid} did not stop within {PATIENCE_S:.0f} s", remedy=f"kill -9 {up.pid}")
            time.sleep(0.02)
    emit(options, {"stopped": up.pid}, [f"stopped process {up.pid}"])
    return 0
