"""A phantom: H&E-like slides of six known tissues, whose colour tells next to nothing."""
