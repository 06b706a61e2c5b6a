"""The whole job in one call, for any network: prepare, solve, apply, check."""
