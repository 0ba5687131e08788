"""Work over many sources: isolation, resume, engines."""
