"""Turns an h2o model in its binary form into a MOJO, in a process of its own: reading the binary can run code.

Started by `models.flavors.h2o_mojo` as `python -m perennial.models.flavors.processes.h2o_binary ANSWERS`; the only
message is the path of the binary, its answer the MOJO. The cluster that it starts ends with this process's group.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from perennial.models.flavors.processes.h2o_cluster import cluster
from perennial.models.flavors.processes.messages import received, send
from perennial.store.scratch import scratch_folder, scratch_of_user

__all__ = ["main"]


def main() -> None:
    """Convert one model."""
    path = received()
    if path is None:
        return
    send(int(sys.argv[1]), lambda: _converted(path.decode()))


def _converted(path: str) -> bytes:
    import h2o  # pyright: ignore[reportMissingImports]  # in the extra

    connection: Any
    with cluster() as url, scratch_folder(scratch_of_user()) as folder:
        connection = h2o.connect(url=url, verbose=False)
        h2o.no_progress()
        try:
            model: Any = h2o.upload_model(path)
            return Path(model.download_mojo(path=str(folder))).read_bytes()
        finally:
            connection.close()


if __name__ == "__main__":
    main()
