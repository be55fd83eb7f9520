"""What runs in jails, as texts: the standard library alone, and nothing of this service imports it."""
