"""Every method on the same edit sets, by one judge."""
