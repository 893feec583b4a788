"""The files that readers start from."""
