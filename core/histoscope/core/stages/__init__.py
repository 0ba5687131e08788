"""The commands' work, one module each: they join the parts below."""
