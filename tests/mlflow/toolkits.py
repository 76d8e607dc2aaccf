"""Autologging of PyTorch (by Lightning) and Keras against a server: `python toolkits.py http://127.0.0.1:5000`."""

from __future__ import annotations

import os
import sys
import tempfile

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "KERAS_BACKEND": "torch",
    "CUDA_VISIBLE_DEVICES": "",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def main(uri: str) -> None:
    os.environ.update(QUIET)
    os.chdir(tempfile.mkdtemp())  # Lightning keeps its checkpoints where it is
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("toolkits")
    with_lightning()
    with_keras()


def with_lightning() -> None:
    import lightning
    import mlflow
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    class Line(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.layer(rows)

        def training_step(self, batch: list[torch.Tensor], _at: int) -> torch.Tensor:
            loss = torch.nn.functional.mse_loss(self(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(1)
    rows = torch.randn(64, 2)
    loader = DataLoader(TensorDataset(rows, rows.sum(dim=1, keepdim=True)), batch_size=16)
    mlflow.pytorch.autolog(log_models=True)
    with mlflow.start_run(run_name="lightning") as active:
        trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_progress_bar=False)
        trainer.fit(Line(), loader)
    mlflow.pytorch.autolog(disable=True)
    told(active.info.run_id, param="lr", metric="train_loss", points=3)


def with_keras() -> None:
    import keras
    import mlflow
    import numpy as np

    rows = np.random.default_rng(1).normal(size=(64, 2)).astype("float32")
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    autolog = mlflow.keras.autolog
    autolog(log_models=True)
    with mlflow.start_run(run_name="keras") as active:
        model.fit(rows, rows.sum(axis=1, keepdims=True), epochs=3, verbose=0)
    told(active.info.run_id, param="epochs", metric="loss", points=3)


def told(run_id: str, *, param: str, metric: str, points: int) -> None:
    """What autologging is for: parameters, a point of the loss for each epoch, a model that can be found again."""
    from mlflow import MlflowClient

    client = MlflowClient()
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED", run.info.status
    assert param in run.data.params, run.data.params
    history = client.get_metric_history(run_id, metric)
    assert len(history) == points, history
    assert run.outputs, "no model was logged"
    assert len(run.outputs.model_outputs) == 1
    files = client.list_logged_model_artifacts(run.outputs.model_outputs[0].model_id)
    assert "MLmodel" in {each.path for each in files}, files
    print(f"{run.info.run_name}: {sorted(run.data.params)} {sorted(run.data.metrics)}")


if __name__ == "__main__":
    main(sys.argv[1])
