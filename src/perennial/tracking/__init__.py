"""Runs: what was tried, with which code, data, parameters and environment, and what came out."""
