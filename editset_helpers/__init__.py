"""Which images are repaired: their choice, their file, their copies."""
