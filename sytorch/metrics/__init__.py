"""Sizes of a change: how far it moves the outputs of ordinary images, for the last layer and for any other."""
