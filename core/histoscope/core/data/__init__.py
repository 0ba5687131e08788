"""Manifest, index, store and loader: files between the stages, and the order of reading them."""
