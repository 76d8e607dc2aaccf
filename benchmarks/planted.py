"""Faults planted in real data, fifty of each with fifty clean twins: what the gates miss, and what they refuse falsely.

    python benchmarks/planted.py [COUNT]

Prints a table, and below it each miss and each false refusal with what was planted. No times.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from perennial.registry.versions import Models
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from tests.evaluate import planted

DATA = Path(__file__).parents[2] / "shared" / "data"
WITHIN_BUDGET = 99  # tries, and then the guess as the hundredth look
MEMORISED = (
    (planted.TRIES, False, "the test set memorised in 300 tries"),
    (WITHIN_BUDGET, False, "the same in 99 tries, within a budget of 100"),
    (WITHIN_BUDGET, True, "the same, each try weighted by what it measured"),
    (20, True, "the same in 20 tries, weighted"),
)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    data = planted.Data.load(DATA)
    import_tables()
    rows: list[tuple[str, str, list[planted.Outcome]]] = [
        ("a leak", "no_leakage", [planted.leak(data, seed) for seed in range(count)]),
        ("a subgroup failure", "slices", [planted.subgroup(data, seed) for seed in range(count)]),
        (
            "worse than live by more than the margin",
            "not_worse_than_live",
            [planted.margin(data, s) for s in range(count)],
        ),
    ]
    for tries, weighted, what in MEMORISED:
        with tempfile.TemporaryDirectory() as folder, Records.open(f"sqlite:///{folder}/records.db") as records:
            create_tables(records)
            models = Models(records)
            found = [planted.memorised(models, tries, seed, weighted=weighted) for seed in range(count)]
        rows.append((what, "the ledger of test sets", found))
    print(f"| planted, {count} of each | gate | missed | clean twins refused |\n|---|---|---|---|")
    for what, gate, found in rows:
        print(f"| {what} | {gate} | {sum(one.missed for one in found)} | {sum(one.refused for one in found)} |")
    for what, _, found in rows:
        wrong = [(one.fault, "missed") for one in found if one.missed]
        wrong += [(one.fault, "twin refused") for one in found if one.refused]
        print(f"\n{what}:" if wrong else "", *[f"  {word}: {fault}" for fault, word in wrong[:12]], sep="\n")


if __name__ == "__main__":
    main()
