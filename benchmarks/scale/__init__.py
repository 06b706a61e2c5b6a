"""Time and memory as the number of images grows."""
