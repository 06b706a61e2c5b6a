"""What a repair says of itself: its report, its history, and how both are read again."""
