"""The program of the last layer: the problem, the methods that solve it, and the verification of what they find."""
