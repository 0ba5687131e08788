"""Pathology: whole-slide images, section pictures and labelled tile sets."""

from histoscope.domains.pathology.domain import PathologyDomain

DOMAIN = PathologyDomain()

__all__ = ["DOMAIN", "PathologyDomain"]
