"""The demo's report: one HTML file with everything in it, to read on a screen, a phone or paper.

It loads nothing and runs nothing: styles are within, charts are drawings. Headings say what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from perennial.demo.charts import POLICY_NAMES, draw_errors, draw_means, draw_rollouts, draw_shifts
from perennial.demo.facts import Facts, Policy, PolicyName
from perennial.store.files import LocalFiles

__all__ = ["render"]

OUTCOMES = {"next": "passed", "rolled_back": "rolled back"}
WIDE, NARROW = 830, 350  # pixels of a chart on a screen and on a phone


def render(facts: Facts, path: Path) -> None:
    """Write the report; the file appears whole or not at all."""
    pages = Environment(
        loader=PackageLoader("perennial.demo", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["number"] = _number
    pages.filters["policy"] = POLICY_NAMES.__getitem__
    pages.filters["outcome"] = _outcome
    style = Markup(pages.get_template("style.css").render())  # noqa: S704  ours, not a user's
    text = pages.get_template("report.html").render(
        facts=facts,
        style=style,
        headline=_headline(facts),
        errors=_figure(_errors_found(facts), draw_errors, facts),
        means=_figure(_means_found(facts), draw_means, facts),
        shifts=_figure(_shifts_found(facts), draw_shifts, facts) if facts.shifts else "",
        rollouts=_figure(_rollouts_found(facts), draw_rollouts, facts),
    )
    LocalFiles().write_atomic(path, text.encode())


def _figure(found: str, draw: Callable[[Facts, int], str], facts: Facts) -> Markup:
    """A heading that says what the chart shows, and the chart for a screen and for a phone."""
    charts = "".join(
        f'<div class="{name}" role="img" aria-label="{Markup.escape(found)}">{draw(facts, width)}</div>'
        for name, width in (("wide", WIDE), ("narrow", NARROW))
    )
    return Markup(f"<h2>{Markup.escape(found)}</h2>{charts}")  # noqa: S704  drawn by us; the heading is escaped


def _headline(facts: Facts) -> str:
    ours = _policy(facts, "loop")
    again = ours.trainings - 1
    trained = "was never trained again" if not again else f"was trained again {_times(again)}"
    span = f"From {facts.years[2]} to {facts.years[-1]}" if len(facts.years) > 3 else f"In {facts.years[-1]}"
    return (
        f"{span} the model {trained}. Its error over all that time is {ours.rmse:.3f}, against "
        f"{_policy(facts, 'never').rmse:.3f} without retraining and {_policy(facts, 'yearly').rmse:.3f} when retrained "
        "every year."
    )


def _errors_found(facts: Facts) -> str:
    never, ours = _policy(facts, "never").rmse_last_year, _policy(facts, "loop").rmse_last_year
    return f"In {facts.years[-1]} the error is {never:.2f} if nothing is retrained, and {ours:.2f} with this loop"


def _means_found(facts: Facts) -> str:
    never, ours = _policy(facts, "never").bias_last_year, _policy(facts, "loop").bias_last_year
    return f"By {facts.years[-1]} the first model answers {_off(never)}, this loop's {_off(ours)}"


def _shifts_found(facts: Facts) -> str:
    strongest: dict[str, float] = {}
    for cell in facts.shifts:
        if cell.is_shifted:
            strongest[cell.feature] = max(strongest.get(cell.feature, 0.0), cell.psi or 0.0)
    if not strongest:
        return "No input shifts beyond its tolerance"
    most = max(strongest, key=lambda name: strongest[name])
    features = len({cell.feature for cell in facts.shifts})
    return f"{len(strongest)} of {features} inputs shift beyond their tolerance, {most} most"


def _rollouts_found(facts: Facts) -> str:
    later = {span.version for span in facts.rollouts if span.stage != "live"}
    live = {span.version for span in facts.rollouts if span.stage == "live"} & later
    if not later:
        return "The first version stays live, and no other is rolled out"
    rolled = "One later version was" if len(later) == 1 else f"{len(later)} later versions were"
    went = "none" if not live else "it" if len(later) == 1 else "all" if live == later else str(len(live))
    return f"{rolled} rolled out, and {went} went live"


def _policy(facts: Facts, name: PolicyName) -> Policy:
    return next(policy for policy in facts.policies if policy.policy == name)


def _off(bias: float) -> str:
    return "right on average" if abs(bias) < 0.005 else f"{abs(bias):.2f} too {'low' if bias > 0 else 'high'}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _outcome(word: str) -> str:
    return OUTCOMES.get(word, word)


def _number(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
