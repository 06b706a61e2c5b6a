"""A network as a function of one layer's change: its chain of layers, its parts, its activation patterns."""
