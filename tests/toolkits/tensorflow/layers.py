"""Layers and models of a user's own."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class Scaled(keras.layers.Layer):
    """Divides by a number."""

    def __init__(self, by: float = 16.0, **options: Any) -> None:
        super().__init__(**options)
        self.by = by

    def call(self, x: Any) -> Any:
        return x / self.by

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "by": self.by}


class Line(tf.Module):
    """A straight line through named columns."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = tf.Variable([0.5, 0.1])
        self.start = tf.Variable(1.0)

    def __call__(self, education: Any, experience: Any) -> Any:
        return self.start + self.slope[0] * education + self.slope[1] * experience
