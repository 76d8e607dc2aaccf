"""Versions of files and folders: byte for byte as they were, of any kind, at the cost of what changed."""
