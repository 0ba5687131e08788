"""A phantom: operations of seven phases with tools, whose colour tells next to nothing."""

from histoscope.domains.surgery.phantom.videos import FPS, SIZE_PX, PhantomSize, write_phantom

__all__ = ["FPS", "SIZE_PX", "PhantomSize", "write_phantom"]
