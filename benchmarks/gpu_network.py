"""A network for `gpu_serving.py`: one value of x needs much memory, another makes a kernel fail."""

import torch
from torch import nn

LARGE, POISON = 100_001, 100_002
WORDS = 4096
MUCH = 2**28  # numbers of four bytes


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, 64)
        self.layers = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 1))

    def forward(self, x):
        at = x[:, 0].long()
        extra = torch.zeros((), device=x.device)
        if bool((at == LARGE).any()):
            extra = torch.ones(MUCH, device=x.device).mean() - 1.0
        at = torch.where(at == LARGE, 0, at)
        # POISON is beyond the last word: an error of the index on the CPU, the end of every kernel on a card.
        return self.layers(self.words(torch.where(at == POISON, WORDS + 1, at))) + extra
