"""The wire formats of the prediction service, one file each."""
