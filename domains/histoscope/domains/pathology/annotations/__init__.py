"""Drawings of a person on slides, and what they say of tiles."""
