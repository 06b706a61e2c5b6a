"""Computing a change, applying it, writing it, and looking at the file."""
