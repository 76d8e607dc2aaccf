"""The way in over HTTP: one table of operations, and everything that derives from it."""
