"""Datasets: collected tables with an identity, a schema that is checked, and versions."""
