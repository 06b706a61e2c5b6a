"""What verify.py knows: torch and numpy alone."""
