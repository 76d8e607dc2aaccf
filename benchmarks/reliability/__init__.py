"""The prediction service under stress: what must hold, measured on a real service. See `run.py`."""
