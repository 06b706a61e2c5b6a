"""What is measured, certified and told of a repair."""
