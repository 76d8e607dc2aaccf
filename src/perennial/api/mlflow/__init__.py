"""What MLflow's clients speak: an adapter over the services of the workspace, without rules of its own."""
