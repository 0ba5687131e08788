"""From few labels to heads."""
