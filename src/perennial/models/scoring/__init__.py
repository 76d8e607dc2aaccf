"""Answer tables of any size: pieces of rows go to worker processes and come back as columns of answers, in order."""

from __future__ import annotations
