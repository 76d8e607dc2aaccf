"""The networks of these tests, as a user's own module: small, and fitted on real data in a second."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Images(nn.Module):
    """Digits of 8 x 8 pixels to ten logits."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.2)
        self.last = nn.Linear(width * 9, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        found = torch.relu(self.norm(self.convolution((pixels / 16).unsqueeze(1))))
        return self.last(self.dropout(nn.functional.max_pool2d(found, 2).flatten(1)))


class Wage(nn.Module):
    """A wage from columns by name; the occupation is embedded, and one row of the embedding is for the missing."""

    def __init__(self, occupations: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(occupations + 1, 3)
        self.layers = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, education: Tensor, experience: Tensor, occupation: Tensor) -> Tensor:
        numbers = torch.stack([education / 12 - 1, experience / 20 - 1], dim=1)
        return self.layers(torch.cat([numbers, self.embedding(occupation)], dim=1))[:, 0]


class Branching(nn.Module):
    """Takes another way by what it sees, so it is no graph."""

    def __init__(self, inputs: int = 64) -> None:
        super().__init__()
        self.one = nn.Linear(inputs, 10)
        self.other = nn.Linear(inputs, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x / 16) if float(x.abs().max()) > 1e9 else self.other(x / 16)


class Nameless(Branching):
    """Cannot be made again from plain values."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first = layer

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.first(x))
