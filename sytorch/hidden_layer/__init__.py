"""The program of any layer behind a fixed activation pattern, its methods, and steps that linearise anew."""
