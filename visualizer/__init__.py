"""The web page; it only reads."""
