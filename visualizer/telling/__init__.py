"""What pages say in words, and the commands that they offer."""
