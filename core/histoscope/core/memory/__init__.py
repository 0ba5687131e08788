"""What objectives remember between steps."""
