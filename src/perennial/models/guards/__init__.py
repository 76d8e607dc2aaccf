"""What protects a version, as it is declared, and what of it is learned from rows and kept in the package."""
