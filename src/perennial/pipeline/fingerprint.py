"""What a step's result depends on, as one digest: equal fingerprints, equal results.

It covers the step's source with all project code and constants that it reaches (comments and formatting aside), the
digests of its inputs, its parameters, the seed, the versions of the libraries it imports and Python's minor version.
Secrets and the environment are no part of it; nor are files that the code reads by itself (collect them), nor the
libraries of libraries (see docs/decisions/0004).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import cast

from blake3 import blake3

from perennial.pipeline.code import Code, Slice
from perennial.pipeline.libraries import versions_of
from perennial.types import JSON, Digest, canonical_json

__all__ = ["fingerprint"]

FORMAT = 1  # raised when the same code would store another kind of result


def fingerprint(
    code: Code,
    part: Slice,
    *,
    name: str,
    inputs: Mapping[str, Digest],
    params: Mapping[str, JSON],
    seed: int,
    python: str = f"{sys.version_info.major}.{sys.version_info.minor}",
) -> Digest:
    """The fingerprint of the step `name`, whose code is `part`; `inputs` are the identities of what it takes."""
    parts = {
        "format": FORMAT,
        "step": name,
        "code": code.texts(part),
        "inputs": dict(inputs),
        "params": dict(params),
        "seed": seed,
        "libraries": versions_of(part.libraries),
        "python": python,
    }
    return Digest(blake3(canonical_json(cast(JSON, parts))).hexdigest())
