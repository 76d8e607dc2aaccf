"""Bundle a project's code, tell what a step depends on, and run steps that changed."""
