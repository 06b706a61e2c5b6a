"""A page for each address."""
