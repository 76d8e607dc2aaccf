"""Search: the filter language of MLflow, parsed by ourselves into comparisons and turned into bound conditions."""
