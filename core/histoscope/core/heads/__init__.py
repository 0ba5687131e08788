"""What answers from features."""
