"""Three models, fitted once, as the peers load them and as ours are packaged; rows to ask for, and what is right.

Every row is sent as float64, the labels that scikit-learn itself predicts for them are what must come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["MODELS", "Model", "make"]

ROWS = 2_000  # different requests for each model, at most

MODELS = {
    "forest": "random forest of 100 trees on digits",
    "logistic": "scaled logistic regression on iris",
    "boosting": "histogram gradient boosting, 20,000 x 20",
}


@dataclass(frozen=True)
class Model:
    """`path`: the fitted model as joblib wrote it; `rows`: what is asked; `labels`: what scikit-learn says of them."""

    name: str
    title: str
    model: Any
    path: Path
    x: Any
    y: Any
    rows: list[list[float]]
    labels: list[int]

    @property
    def columns(self) -> list[str]:
        return [f"x{i}" for i in range(len(self.rows[0]))]

    def table(self) -> Any:
        """The training rows as a table with the target `label`."""
        import pyarrow as pa

        columns = {name: self.x[:, i] for i, name in enumerate(self.columns)}
        return pa.table(columns | {"label": self.y})


def make(name: str, folder: Path) -> Model:
    """Fit one, and write it down for the peers."""
    import joblib
    from sklearn.datasets import load_digits, load_iris, make_classification
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if name == "forest":
        x, y = load_digits(return_X_y=True)
        model = RandomForestClassifier(100, random_state=0)
    elif name == "logistic":
        x, y = load_iris(return_X_y=True)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    else:
        x, y = make_classification(20_000, 20, n_informative=10, random_state=0)
        model = HistGradientBoostingClassifier(random_state=0)
    x = np.asarray(x, dtype=np.float64)
    model.fit(x, y)
    path = folder / f"{name}.joblib"
    joblib.dump(model, path)
    asked = x[np.random.default_rng(0).permutation(len(x))[:ROWS]]
    return Model(name, MODELS[name], model, path, x, y, asked.tolist(), model.predict(asked).tolist())
