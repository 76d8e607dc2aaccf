"""The pages are tested on the same server as the operations."""

from __future__ import annotations

from ..api.conftest import fresh as fresh  # noqa: TID252  a test folder is no package with a full name
from ..api.conftest import served as served  # noqa: TID252
