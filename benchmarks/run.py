"""Measure what is claimed, each figure beside its limit or a peer in the same run.

    python benchmarks/run.py [--quick] [--only SUBJECT ...]

Prints one line of JSON for each measurement and a table at the end on standard output, what is under way on standard
error. How to read the figures: README.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import compiled
import evaluating
import life
import log_call
import monitoring
import objects
import predictions
import serving
import starting
import steps
import validating
import versions
from measure import Report, machine, neighbours, say

import tracking

MODULES = (
    compiled, starting, objects, versions, validating, tracking, log_call, steps, evaluating, predictions, serving,
    monitoring, life,
)  # fmt: skip
SUBJECTS = {module.__name__: module.measure for module in MODULES}
WORK = Path(__file__).parent / ".work"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter and smaller: a few minutes")
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), help="some of the subjects")
    parser.add_argument("--large", action="store_true", help="also 100,000 files and a file of 5 GB")
    options = parser.parse_args(words)
    os.umask(0o077)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    report, heard, began = Report(), list[tuple[str, float, float]](), time.monotonic()
    about = machine(WORK)
    for name in options.only or SUBJECTS:
        say(f"== {name}")
        with neighbours(name, heard):
            SUBJECTS[name](report, WORK, quick=options.quick)
    if options.large:
        versions.large(report, WORK)
    shutil.rmtree(WORK)
    print(f"\n{datetime.now(UTC):%Y-%m-%d}, {about}.")
    print(f"Median (minimum–maximum); the whole run took {time.monotonic() - began:.0f} s.\n")
    print(report.table())
    print("\nCores that other processes used meanwhile: " + ", ".join(f"{s} {c:.2f}" for s, _, c in heard) + ".")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
    sys.exit(main())
