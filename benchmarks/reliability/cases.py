"""All cases by their identifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reliability import alone, clients, endings, malformed, overload, soak, swaps
from reliability.trial import Held, Trial

__all__ = ["CASES"]

CASES: Mapping[str, tuple[str, Callable[[Trial], list[Held]]]] = {
    "S01": ("2 and 5 times the capacity", overload.beyond_capacity),
    "S02": ("deadlines", overload.deadlines),
    "S03": ("a stall, then a storm of retries", overload.retry_storm),
    "S04": ("a noisy neighbour", overload.noisy_neighbour),
    "S05": ("hot swaps at 0.7 of the capacity", swaps.hot_swaps),
    "S06": ("a swap to a broken version", swaps.broken_versions),
    "S07": ("rollback", swaps.rollback),
    "S08": ("canary and shadow", swaps.split),
    "S09": (
        "a worker dies with requests in flight",
        lambda trial: endings.dead_workers(trial) + endings.replaced_fronts(trial),
    ),
    "S10": ("SIGTERM and restart", endings.terminated),
    "S11": ("slow clients", clients.slow),
    "S12": ("giant and lying payloads", clients.lying),
    "S13": ("malformed requests", malformed.malformed),
    "S14": ("schema violations", malformed.violations),
    "S15": ("database, store and monitor away", alone.everything_away),
    "S16": ("hours of load with new versions", soak.soak),
    "S17": ("cold start", endings.cold_start),
}
