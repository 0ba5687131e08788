"""Losses as pure functions: tensors in, tensor out."""
