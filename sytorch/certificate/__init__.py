"""What proves an answer: lower bounds and refutations from multipliers, computed apart from who found them."""
