"""Right diagnoses of faults put into real data: a confusion matrix over seeded windows of each kind.

    python benchmarks/diagnosing.py --first 0 --count 200 [--workers 2] [--only KIND ...] [--blind]

Each seed takes one of five data sets, one of four models trained on part of it, a held-out reference of 4,000 rows and
a window of 2,000 with one known fault (`monitor.diagnosing.injections`). Right is the cause that was put in; for
"benign" and "none", that there is nothing to do. `--blind` takes the labels of the window away. Prints the matrix and
below it each case that was not right; exits with 1 where fewer than 9 in 10 of a kind are right.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["OMP_NUM_THREADS"] = os.environ["POLARS_MAX_THREADS"] = "1"  # a process for each core

from perennial.errors import Invalid
from perennial.monitor.diagnosing.diagnosis import diagnose
from perennial.monitor.diagnosing.injections import FAULTS, Fault, Injected
from perennial.stats import clopper_pearson
from tests.monitor import rehearsal

DATA = Path(__file__).parents[2] / "shared" / "data"
WANTED = 0.9
CAUSE: dict[Fault, str] = {
    "none": "none", "benign": "none", "covariate": "covariate", "prior": "prior", "concept": "concept",
    "unit error": "data bug", "null burst": "data bug", "swapped columns": "data bug",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    fault: Fault
    seed: int
    data: str
    cause: str
    action: str
    says: str
    because: str
    columns_found: bool

    @property
    def is_right(self) -> bool:
        if self.fault in {"none", "benign"}:
            return self.cause == "none" and self.action == "nothing"
        return self.cause == CAUSE[self.fault]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=200, help="seeds of each kind")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=FAULTS, help="some of the kinds")
    parser.add_argument("--blind", action="store_true", help="without the labels of the window")
    options = parser.parse_args(words)
    began = time.monotonic()
    seeds = range(options.first, options.first + options.count)
    # Seeds of one model go to one worker, so that each model is trained once.
    stages = len(rehearsal.NAMES) * rehearsal.SPLITS
    tasks = [
        (fault, [seed for seed in seeds if seed % stages == stage], options.blind)
        for stage in range(stages)
        for fault in options.only
    ]
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        found = [one for part in pool.imap(outcomes, tasks, chunksize=len(options.only)) for one in part]
    print(table(found))
    for one in found:
        if not one.is_right:
            print(f"  {one.fault} {one.seed} {one.data}: {one.cause}, {one.action} | {one.says} | {one.because}")
    print(f"\n{len(found)} cases, {time.monotonic() - began:.0f} s with {options.workers} processes")
    kinds = Counter(one.fault for one in found)
    right = Counter(one.fault for one in found if one.is_right)
    return 0 if all(right[kind] >= WANTED * count for kind, count in kinds.items()) else 1


def outcomes(task: tuple[Fault, list[int], bool]) -> list[Outcome]:
    fault, seeds, blind = task
    return [outcome(fault, seed, blind=blind) for seed in seeds]


def outcome(fault: Fault, seed: int, *, blind: bool) -> Outcome:
    stage, case = case_of(fault, seed)
    current = replace(case.current, labels=None) if blind else case.current
    found = diagnose(stage.reference, current, seed=seed)
    return Outcome(
        fault=fault,
        seed=seed,
        data=stage.table.name,
        cause=found.cause,
        action=found.action,
        says=case.says,
        because="; ".join(found.because),
        columns_found=bool(set(case.columns) & set(found.columns[:5])),
    )


def case_of(fault: Fault, seed: int) -> tuple[rehearsal.Stage, Injected]:
    """The window of a seed. Where a model errs as often on each label no mix of labels raises its loss: then another
    data set is taken, the next in turn that has such a window."""
    for step in range(len(rehearsal.NAMES)):
        stage = rehearsal.stage_of_seed(DATA, seed, step=step)
        try:
            return stage, stage.case(fault, seed)
        except Invalid:
            continue
    raise SystemExit(f"no data set has a window for {fault!r}")


def table(found: Sequence[Outcome]) -> str:
    causes = ["none", "covariate", "prior", "concept", "data bug", "release", "undecided"]
    heads = ["put in, and diagnosed as", *causes, "right", "95 % interval", "columns named"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for fault in FAULTS:
        own = [one for one in found if one.fault == fault]
        if not own:
            continue
        counted = Counter(one.cause for one in own)
        named = sum(one.columns_found for one in own) if fault not in {"none", "prior"} else None
        right = sum(one.is_right for one in own)
        span = clopper_pearson(right, len(own))
        lines.append(
            f"| {fault} | {' | '.join(str(counted[cause] or '') for cause in causes)} | {right} of {len(own)} | "
            f"{span.low:.1%} to {span.high:.1%} | {'' if named is None else named} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
