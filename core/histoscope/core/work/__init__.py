"""Work over many sources: isolation, resume, folders of results."""
