"""Explain an answer: the explainer of a version is a worker of its own, started with the first question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from perennial.errors import PerennialError, Unavailable
from perennial.serve.asked import Asked
from perennial.serve.line import Line
from perennial.serve.orders import Explain, Told, explainer_of
from perennial.serve.parts import Part
from perennial.serve.route import Model, Route

__all__ = ["explained"]

LOOK_S = 0.02  # how soon it is seen that the explainer is there


async def explained(
    route: Route,
    asked: Asked,
    *,
    models: Mapping[str, Model],
    start: Callable[[Explain], None],
    timeout_s: float,
) -> Told | PerennialError:
    """What the explainer of the live version says, or why it says nothing."""
    package = route.keys[route.arm("live") or "live"]
    name = explainer_of(package)
    began = time.monotonic()
    if name not in models:
        start(Explain(package))
        while name not in models:
            if time.monotonic() - began > timeout_s:
                return Unavailable("the explainer is being started", remedy="try again in a moment")
            await asyncio.sleep(LOOK_S)
    model = models[name]
    assert isinstance(model, Line)
    waiter: asyncio.Future[Part] = asyncio.get_running_loop().create_future()
    part = Part(asked, "live", lambda part: None if waiter.done() else waiter.set_result(part))
    model.ask(part, max(0.0, timeout_s - (time.monotonic() - began)))
    settled = await waiter
    if settled.told is not None:
        return settled.told
    failure = settled.failure
    return failure if isinstance(failure, PerennialError) else Unavailable(str(failure))
