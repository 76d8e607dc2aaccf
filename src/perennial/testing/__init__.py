"""Tools for tests of Perennial and of what others put into its seams. Imported by no room."""
