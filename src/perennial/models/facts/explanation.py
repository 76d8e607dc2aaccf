"""What drives a model's answers, as it is stored with an evaluation."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Effect", "Explanation", "Importance"]


class Importance(Struct, frozen=True, kw_only=True):
    """How much the main loss rises when a feature (or a group of correlated ones) is permuted; mean of the repeats."""

    features: list[str]
    rise: float
    low: float
    high: float


class Effect(Struct, frozen=True, kw_only=True):
    """How the answer moves with one feature: `kind` "ale" (accumulated local effects, centred) or "pdp".

    `grid`: values of the feature, numbers or categories; `effect`: the answer's change at each, in the answer's unit
    (probability of `of` for a classifier), its mean over the rows being 0; `rows`: of "pdp" the rows with each value,
    of "ale" the rows between a value and the next, one fewer than values.
    """

    feature: str
    kind: str
    of: str
    grid: list[float | str]
    effect: list[float]
    rows: list[int]


class Explanation(Struct, frozen=True, kw_only=True):
    """Everything computed at registration within the time budget; `left_out` says what was not, and why.

    Attributes:
        loss: What importance is measured by: "rmse" | "log_loss" | "error_rate".
        method: How attributions were computed: "tree" | "linear" | "sampled".
        of: The target, or the class whose number is explained.
        unit: What attributions add up to: "value" | "probability" | "log-odds" | "margin" | "log" | "label".
        base: The number that attributions are added to.
        mean_abs: Mean |attribution| by column of the model.
        rows: How many rows have attributions.
        error: Their standard error where sampled, root mean square.
        attributions: Digest of a Parquet table of them, one column for each of the model's, against which their drift
            is watched.
    """

    importance: list[Importance] = []
    effects: list[Effect] = []
    method: str | None = None
    of: str | None = None
    unit: str | None = None
    base: float | None = None
    mean_abs: dict[str, float] = {}
    rows: int = 0
    error: float | None = None
    attributions: str | None = None
    left_out: list[str] = []
    loss: str | None = None
