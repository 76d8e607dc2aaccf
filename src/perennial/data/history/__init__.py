"""Tests that write themselves: what the metrics of a batch may be, learned from the batches before it."""
