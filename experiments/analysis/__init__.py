"""Plots and summaries of sweeps."""
