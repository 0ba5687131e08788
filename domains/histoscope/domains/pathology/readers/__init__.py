"""Pixel pyramids: one module a library, and :mod:`.choose`, which picks one or says why not."""
