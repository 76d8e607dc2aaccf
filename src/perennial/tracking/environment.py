"""The environment of a run as canonical text: Python, platform and every installed distribution."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

__all__ = ["environment_text"]

_INFO = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info")


def environment_text() -> str:
    """One line each, distributions as `name==version` in order; the same text for the same environment.

    Environment variables are no part of it: they hold secrets.
    """
    found: dict[str, str] = {}
    for folder in sys.path:  # the first on the path is the one that is imported
        for info in Path(folder or ".").glob("*.*-info") if Path(folder or ".").is_dir() else ():
            match = _INFO.fullmatch(info.name)
            if match:
                found.setdefault(re.sub(r"[-_.]+", "-", match["name"]).lower(), match["version"])
    lines = [f"python {platform.python_version()}", f"platform {platform.system()} {platform.machine()}"]
    return "\n".join([*lines, *(f"{name}=={version}" for name, version in sorted(found.items()))]) + "\n"
