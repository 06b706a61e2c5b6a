"""A network in a format that other programs run, checked by running it."""
