"""Units of a hidden layer that ordinary points do not need: each becomes a detector of a group of points."""
