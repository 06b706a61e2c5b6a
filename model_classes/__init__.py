"""AlexNet, its files, its training."""
