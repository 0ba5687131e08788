"""Providers of masks: what is the subject of a tile or of a frame. Declared without any library.

The work is done in the modules that ``maker`` names; they are imported when masks are made.
"""

from histoscope.domains.saliency.declared import Declared
from histoscope.domains.saliency.settings import (
    FieldSpec,
    InstrumentsSpec,
    LearnedSpec,
    NucleiSpec,
    RandomSpec,
    TissueSpec,
)

TISSUE = Declared(
    name="tissue",
    version="1",
    domains=("pathology",),
    settings=TissueSpec,
    about="stained tissue, against the slide's glass",
    maker="histoscope.domains.saliency.tissue:TissueMaker",
)
NUCLEI = Declared(
    name="nuclei",
    version="1",
    domains=("pathology",),
    settings=NucleiSpec,
    about="regions rich in nuclei by their haematoxylin, against stroma and glass",
    maker="histoscope.domains.saliency.nuclei:NucleiMaker",
)
INSTRUMENTS = Declared(
    name="instruments",
    version="1",
    domains=("surgery",),
    settings=InstrumentsSpec,
    about="instruments and what is right beside them, against tissue",
    maker="histoscope.domains.saliency.instruments:InstrumentsMaker",
)
FIELD = Declared(
    name="field",
    version="1",
    domains=("surgery",),
    settings=FieldSpec,
    about="the round field of view, against the dark around it",
    maker="histoscope.domains.saliency.field:FieldMaker",
)
LEARNED = Declared(
    name="learned",
    version="1",
    domains=(),
    settings=LearnedSpec,
    about="what another provider takes, as it is learned from its masks in the source",
    maker="histoscope.domains.saliency.learned:LearnedMaker",
)
RANDOM = Declared(
    name="random",
    version="1",
    domains=(),
    settings=RandomSpec,
    about="a control: any region, as large as another provider's in each image",
    maker="histoscope.domains.saliency.random:RandomMaker",
)

__all__ = ["FIELD", "INSTRUMENTS", "LEARNED", "NUCLEI", "RANDOM", "TISSUE", "Declared"]
