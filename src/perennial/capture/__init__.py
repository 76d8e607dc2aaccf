"""Captured predictions and their labels, as the owner keeps them.

The prediction service writes segments and knows nothing of this; here they are taken up exactly once into Parquet
objects with a catalogue, join their late labels, and are read back as frames.
"""
