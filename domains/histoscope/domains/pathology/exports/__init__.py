"""How ``embed`` writes features of slides: by opaque ids, or as CLAM or TRIDENT looks them up."""

from __future__ import annotations

from histoscope.core.contracts import Export
from histoscope.domains.pathology.options import FeatureLayout, TileSampling


def export_of(layout: FeatureLayout, encoder: str, sampling: TileSampling) -> Export:
    """What writes a layout.

    Args:
        layout: its name.
        encoder: architecture of the encoder.
        sampling: how tiles are cut.
    """
    from histoscope.domains.pathology.exports.clam import ClamExport
    from histoscope.domains.pathology.exports.opaque import OpaqueExport
    from histoscope.domains.pathology.exports.trident import TridentExport

    if layout == "clam":
        return ClamExport()
    if layout == "trident":
        return TridentExport.of(encoder, sampling)
    return OpaqueExport(encoder)
