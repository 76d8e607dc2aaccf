"""Dataset versions at another place: a folder, or a bucket in object storage. See docs/decisions/0014."""
