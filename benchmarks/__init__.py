"""Measurements that the documents tell of."""
