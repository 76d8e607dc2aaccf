"""Put the prediction service under stress and say what held: cases S01 to S17 of docs/reliability.md.

    python benchmarks/reliability/run.py [S01 S05 ...] [--short] [--keep FOLDER]

Each case starts services of its own on loopback, with models whose cost is known, loads them from a process of its own
and checks every answer. Prints what must hold and what was measured while it runs, and the table as Markdown at the
end; exit code 1 when something did not hold. `--short` takes seconds where the case asks for minutes; only the full
run, on a machine without other work, says anything about latency.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS.parent / "src")]

from measure import machine, neighbours, say  # noqa: E402

from reliability.cases import CASES  # noqa: E402
from reliability.trial import Held, Trial  # noqa: E402

WORK = BENCHMARKS / ".work"  # on a real disk, as predictions are written down
MARKS = {True: "held", False: "**not held**", None: "not measured"}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {' '.join(CASES)}; all when none is named")
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    options = parser.parse_args(words)
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}")
    os.umask(0o077)
    WORK.mkdir(exist_ok=True)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="reliability-", dir=WORK))
    folder.mkdir(exist_ok=True)
    heard, lines, all_held = list[tuple[str, float, float]](), list[str](), True
    try:
        about = machine(folder)
        for name in options.cases or CASES:
            title, run = CASES[name]
            say(f"== {name} {title}")
            place = folder / name
            place.mkdir()
            began = time.monotonic()
            with neighbours(name, heard):
                found = _run(run, Trial(place, options.short))
            for held in found:
                all_held = all_held and held.held is not False
                say(f"  must: {held.must}\n  seen: {held.measured}  [{MARKS[held.held]}]")
                cells = (name, title, held.must, held.measured, MARKS[held.held])
                lines.append("| " + " | ".join(" ".join(c.replace("|", "/").split()) for c in cells) + " |")
                name = title = ""
            say(f"  ({time.monotonic() - began:.0f} s)")
            if options.keep is None:
                shutil.rmtree(place, ignore_errors=True)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    length = "short runs" if options.short else "full runs"
    print(f"{time.strftime('%Y-%m-%d', time.gmtime())}, {about}, {length}. Other processes meanwhile used")
    print(", ".join(f"{cores:.2f} cores ({case})" for case, _, cores in heard) + ".\n")
    print("| | case | must hold | measured | |\n|---|---|---|---|---|")
    print("\n".join(lines))
    return 0 if all_held else 1


def _run(run: object, trial: Trial) -> list[Held]:
    """A case that breaks has not held; the others still run."""
    try:
        return run(trial)  # type: ignore[operator]
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return [Held("the case runs to its end", f"{type(error).__name__}: {str(error)[:300]}", False)]


if __name__ == "__main__":
    sys.exit(main())
