"""What the processes of the tree that are clients of the owner have in common: how they start, and when they end."""

from __future__ import annotations

import argparse
import logging
import os
import signal
from pathlib import Path

from perennial.api import connect
from perennial.api.client import HeldLease
from perennial.store.workspace_folder import open_folder
from perennial.supervise.parent import die_with_parent
from perennial.workspace import Workspace

__all__ = ["start"]


def start(
    module: str, origin: str, *required: str, lease: HeldLease | None = None
) -> tuple[Workspace, argparse.Namespace]:
    """Read the command line, log plainly, end with the parent, and join the workspace.

    They hold nothing that an end at any moment could lose, so a signal ends them at once.

    Args:
        module: As in `python -m MODULE`.
        origin: What events are stamped with.
        required: Further options that must be given, such as "--job".
        lease: The lease under which it writes, once it holds it.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--die-with-parent", action="store_true")
    for name in required:
        parser.add_argument(name, required=True)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if asked.die_with_parent:
        die_with_parent(lambda: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    return connect.join(open_folder(asked.workspace), origin=origin, lease=lease), asked
