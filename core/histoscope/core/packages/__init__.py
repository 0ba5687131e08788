"""The model package: write, verify, load, predict."""
