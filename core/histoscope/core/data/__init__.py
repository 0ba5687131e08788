"""Stores, label tables and selections: files between the stages, and the order of reading them."""
