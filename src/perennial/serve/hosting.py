"""Where a model may live: in the fronts themselves, or in a worker of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from perennial.models.accelerator import asks_for_accelerator
from perennial.models.package import MANIFEST, Settings, compilation_in, read_manifest
from perennial.store.decoding import ready

__all__ = ["can_be_inline"]


def can_be_inline(folder: Path) -> bool:
    """Whether the model in this checked-out package answers without anything of a user's, neither features nor a
    pickle: its compiled form was proven, that is a graph of numbers, and no accelerator is asked for. Looks at the
    package's records alone."""
    compiled = compilation_in(folder)
    if compiled is None or compiled.form is None or compiled.main is None:
        return False
    if asks_for_accelerator(read_manifest((folder / MANIFEST).read_bytes()).kind):
        return False
    code = msgspec.json.decode((folder / "model.json").read_bytes(), type=ready(Settings)).code
    return code is None or code.features is None
