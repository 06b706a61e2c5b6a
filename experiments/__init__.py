"""Sweeps of repairs."""
