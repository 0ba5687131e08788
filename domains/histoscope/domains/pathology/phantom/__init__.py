"""A phantom: H&E-like sections of six known tissues, whose colour tells nothing."""

from histoscope.domains.pathology.phantom.files import (
    PHANTOM,
    TILE_MPP,
    TILE_PX,
    PhantomSize,
    write_phantom,
)
from histoscope.domains.pathology.phantom.sections import CLASSES

__all__ = ["CLASSES", "PHANTOM", "TILE_MPP", "TILE_PX", "PhantomSize", "write_phantom"]
