"""What the monitors say of real data beside what is true of it: a report for each window, and one table.

    python benchmarks/said_and_true.py FOLDER [--only houses taxis bicycles wages people]

Each window is a file, compared as `perennial monitor run` compares files, the model asked as a file. Every report is
written into FOLDER as a page. The cases and how their truth is known are in `tests/monitor/known_truth.py`; what counts
as right is fixed there, beside the data, and not by what was said. Prints a table for the documentation; exits with 1
where something is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from tests.monitor.judging import HEADINGS, MAIN, Judged, judged
from tests.monitor.known_truth import SETS

DATA = Path(__file__).parents[2] / "shared" / "data"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the reports go")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS), help="some of the data sets")
    options = parser.parse_args(words)
    options.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    found: list[Judged] = []
    print(f"{line(HEADINGS)}\n{line(['---'] * len(HEADINGS))}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.only:
            for case in SETS[name](DATA, Path(scratch)):
                one = judged(case)
                (options.folder / f"{case.name}.html").write_text(one.report.html())
                print(line(one.row()), flush=True)
                found.append(one)
    right = sum(not one.wrong for one in found)
    known = [one for one in found if one.case.realised]
    held = sum(MAIN[one.report.task] not in one.missed for one in known)
    print(
        f"\n{right} of {len(found)} are right. Of {len(known)} windows whose truth is known, {held} were estimated "
        "without it within the band, in the metric shown."
    )
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0 if right == len(found) else 1


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.exit(main())
