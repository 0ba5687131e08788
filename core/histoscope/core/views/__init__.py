"""Augmentations: drawn on the worker, applied on the device."""
