"""Requirements that run: each leaves a verdict with a sentence, what was found, and the evidence.

`KINDS` is the table of what can be required, one check for each declaration of `loop.require`. A requirement that does
not apply (no live version yet), or that these rows cannot decide, passes with `passed=None` and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from perennial.errors import LoopError
from perennial.evaluate.requirements import behaviour, comparing, data, groups, measuring, operating, repeating
from perennial.evaluate.requirements.case import Case, Check, DataFacts, PackageFacts, Refit
from perennial.loop.declaration import Requirement
from perennial.models.facts.verdict import Verdict
from perennial.stats.results import plain

__all__ = ["KINDS", "Case", "DataFacts", "PackageFacts", "Refit", "check_requirements"]

KINDS: Mapping[str, Check] = MappingProxyType(
    {
        "metric": measuring.metric,
        "better_than_live": comparing.better_than_live,
        "not_worse_than_live": comparing.not_worse_than_live,
        "better_than_baseline": comparing.better_than_baseline,
        "slices": groups.slices,
        "fairness": groups.fairness,
        "calibration": measuring.calibration,
        "monotone": behaviour.monotone,
        "directional": behaviour.directional,
        "invariant": behaviour.invariant,
        "robust": behaviour.robust,
        "examples": behaviour.examples,
        "latency": operating.latency,
        "memory": operating.memory,
        "size": operating.size,
        "data_quality": data.data_quality,
        "no_leakage": data.no_leakage,
        "reproducible": repeating.reproducible,
        "custom": repeating.custom,
    }
)


def check_requirements(requirements: Sequence[Requirement], case: Case) -> list[Verdict]:
    """Every requirement's verdict, in the order declared: the rows of the traceability table.

    Raises:
        LoopError: A requirement names a metric or column that there is not.
    """
    return [_check(requirement, case) for requirement in requirements]


def _check(requirement: Requirement, case: Case) -> Verdict:
    if requirement.kind not in KINDS:
        raise LoopError(
            f"there is no requirement {requirement.kind!r}",
            remedy="update this installation, or take it out of the loop",
        )
    passed, says, evidence = KINDS[requirement.kind](case, dict(requirement.options))
    told = plain(evidence)
    assert isinstance(told, dict)
    return Verdict(kind=requirement.kind, sentence=requirement.sentence, passed=passed, says=says, evidence=told)
