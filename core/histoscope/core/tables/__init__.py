"""Small tables that people write by hand, or read."""
