"""Methods for quadratic programs that know nothing of networks."""
