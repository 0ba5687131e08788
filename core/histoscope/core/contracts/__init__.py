"""What flows between the parts, and what each part owes the others.

find -> Source -> open -> Reader -> plan -> rows -> read -> Sample -> store -> loader -> views
-> objective -> encoder -> few labels -> package -> batch -> results -> report

A *source* is what is opened; a *sample* is one image of it at a *location* whose columns the
domain defines; a *case* is the unit of splits and intervals. Importing this package is cheap: no
torch, no pyarrow, no reader.
"""

from histoscope.core.contracts.domain import (
    Beside,
    Comparing,
    Domain,
    Labelling,
    Movable,
    Neighbour,
    Ordered,
    OwnLabels,
    Phantom,
    Reviewable,
    Sequential,
    Zoomable,
)
from histoscope.core.contracts.export import Export, Features, NamedExport
from histoscope.core.contracts.given import GivenFeatures, TakesFeatures
from histoscope.core.contracts.reader import (
    CorruptSample,
    LocationField,
    Plan,
    PlanLabels,
    Reader,
    Sample,
)
from histoscope.core.contracts.results import (
    UNCERTAIN,
    Answer,
    Artefact,
    CloseUp,
    Column,
    Course,
    Level,
    Rendering,
    Results,
    Task,
    Zoom,
)
from histoscope.core.contracts.source import (
    Roots,
    Sampling,
    Scalar,
    Source,
    Split,
    Unused,
    locate,
)

__all__ = [
    "UNCERTAIN",
    "Answer",
    "Artefact",
    "Beside",
    "CloseUp",
    "Column",
    "Comparing",
    "CorruptSample",
    "Course",
    "Domain",
    "Export",
    "Features",
    "GivenFeatures",
    "Labelling",
    "Level",
    "LocationField",
    "Movable",
    "NamedExport",
    "Neighbour",
    "Ordered",
    "OwnLabels",
    "Phantom",
    "Plan",
    "PlanLabels",
    "Reader",
    "Rendering",
    "Results",
    "Reviewable",
    "Roots",
    "Sample",
    "Sampling",
    "Scalar",
    "Sequential",
    "Source",
    "Split",
    "TakesFeatures",
    "Task",
    "Unused",
    "Zoom",
    "Zoomable",
    "locate",
]
