"""What drives a model's answers, as it was recorded when the version was registered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from perennial.cli.output import counted
from perennial.errors import NotFound

if TYPE_CHECKING:
    from perennial.models.facts.explanation import Explanation
    from perennial.registry.version import ModelVersion
    from perennial.workspace import Workspace

__all__ = ["bar", "recorded", "told"]

BAR = 24  # signs of the longest bar
FEATURES = 12  # that are listed; --json has all
LOSSES = {"rmse": "the RMSE", "log_loss": "the log loss", "error_rate": "the share of wrong labels"}


def recorded(ws: Workspace, version: ModelVersion) -> Explanation:
    """The explanation that was stored with the evaluation of a version.

    Raises:
        NotFound: There is none, as for a model that was brought in and never evaluated.
    """
    found = ws.cards.get(name=version.name, version=version.version).explanation
    if found is None:
        raise NotFound(
            f"nothing was recorded of what drives {version.name} version {version.version}",
            remedy=f"explain its answers to some rows: perennial models explain {version.name}@{version.version}"
            " --rows FILE",
        )
    return found


def told(found: Explanation) -> Iterable[str]:
    """The explanation in lines, the most important feature first."""
    if found.importance:
        loss = LOSSES.get(found.loss or "", "the loss")
        yield f"how much {loss} rises on held-out rows when a feature is shuffled (permutation importance)"
        named = {", ".join(one.features): one for one in found.importance[:FEATURES]}
        width = max(len(name) for name in named)
        most = max(abs(one.rise) for one in named.values()) or 1.0
        for name, one in named.items():
            signs = bar(max(one.rise, 0.0), most)
            yield f"  {name:<{width}}  {one.rise:>+10.4g} [{one.low:.4g}, {one.high:.4g}]  {signs}".rstrip()
        yield from _rest(len(found.importance))
    if found.method is not None:
        scatter = "" if found.error is None else f", standard error {found.error:.2g}"
        how = "by sampling" if found.method == "sampled" else f"exactly ({found.method})"
        yield (
            f"what a column moves the {found.unit} of {found.of} by, on average over {counted(found.rows, 'row')},"
            f" {how}{scatter}"
        )
        sizes = sorted(found.mean_abs.items(), key=lambda item: -item[1])
        width = max((len(name) for name, _ in sizes), default=0)
        most = max((size for _, size in sizes), default=0.0) or 1.0
        for name, size in sizes[:FEATURES]:
            yield f"  {name:<{width}}  {size:>10.4g}  {bar(size, most)}".rstrip()
        yield from _rest(len(sizes))
    if found.effects:
        yield f"how the answer moves with {', '.join(one.feature for one in found.effects)} is drawn on the card"
    for sentence in found.left_out:
        yield f"left out: {sentence}"


def bar(size: float, most: float) -> str:
    """A bar of this share of the longest one."""
    return "#" * round(abs(size) / most * BAR)


def _rest(count: int) -> Iterable[str]:
    if count > FEATURES:
        yield f"  and {count - FEATURES} more (--json)"
