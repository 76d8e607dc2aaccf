"""What two versions have different: columns, rows by key, and how values are distributed."""
