"""Model packages: what a model takes and answers, its bytes, and the proof that it answers the same everywhere."""
