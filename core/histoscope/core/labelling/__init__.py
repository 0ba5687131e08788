"""Which sample to label next, and labels from several hands."""
