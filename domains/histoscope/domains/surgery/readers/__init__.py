"""Videos and folders of frames: what is in them, and exact frames out of them."""
