"""A workspace folder with real services."""

from __future__ import annotations

from ...serve.conftest import place as place
