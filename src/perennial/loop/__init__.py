"""What a user declares: steps, requirements, stages and policies, as frozen values. Standard library only."""

from __future__ import annotations

from perennial.loop import fallback, guard, require, retrain, rollout
from perennial.loop.loop import Loop

__all__ = ["Loop", "fallback", "guard", "require", "retrain", "rollout"]
