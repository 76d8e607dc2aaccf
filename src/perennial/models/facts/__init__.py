"""What is recorded about a model, in the form in which `evaluate` writes it and the registry's card reads it."""
