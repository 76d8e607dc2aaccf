"""What XGBoost and LightGBM have in common behind their interfaces of scikit-learn's kind."""

from __future__ import annotations

from typing import Any

__all__ = ["watched"]


def watched(model: Any) -> dict[str, list[float]]:
    """The metrics that were watched while the model was fitted (`eval_set`), one value for each round."""
    found: dict[str, dict[str, list[float]]] = getattr(model, "evals_result_", None) or {}
    return {
        f"{part} {metric}": [float(value) for value in values]
        for part, metrics in found.items()
        for metric, values in metrics.items()
    }
