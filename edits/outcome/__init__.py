"""What is measured and certified of a repair."""
