"""What runs inside the two jails of a check: sent there as source, it imports nothing but itself and Python's own."""
