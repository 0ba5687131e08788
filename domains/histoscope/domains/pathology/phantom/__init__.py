"""A phantom: H&E-like slides of six known tissues, whose colour tells next to nothing."""

from histoscope.domains.pathology.phantom.sections import CLASSES
from histoscope.domains.pathology.phantom.slides import (
    PHANTOM_VERSION,
    TILE_MPP,
    TILE_PX,
    PhantomSize,
    phantom_hash,
    write_phantom,
)

__all__ = [
    "CLASSES",
    "PHANTOM_VERSION",
    "TILE_MPP",
    "TILE_PX",
    "PhantomSize",
    "phantom_hash",
    "write_phantom",
]
