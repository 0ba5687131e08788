"""The pathology domain: its declaration is light, its work is imported where it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histoscope.core.contracts import LocationField, Phantom, Sampling, Split
from histoscope.core.errors import DataError
from histoscope.domains.pathology.formats import NAMING
from histoscope.domains.pathology.options import (
    EmbedOptions,
    FeatureOptions,
    PrepareOptions,
    ReadOptions,
    RelationOptions,
    SuggestOptions,
    TileSampling,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from histoscope.core.config import Spec
    from histoscope.core.contracts import (
        Artefact,
        CloseUp,
        CorruptSample,
        Export,
        GivenFeatures,
        Neighbour,
        Reader,
        Rendering,
        Results,
        Roots,
        Scalar,
        Source,
        Unused,
        Zoom,
    )
    from histoscope.core.tables.names import Naming
    from histoscope.core.views.plan import ViewPlan
    from histoscope.core.views.spec import ViewsSpec

_IN_A_SET = "null in a labelled set, where the place on the slide is unknown"
LOCATION = (
    LocationField("x_level0_px", "int64", True, f"left edge of the tile; {_IN_A_SET}"),
    LocationField("y_level0_px", "int64", True, f"top edge of the tile; {_IN_A_SET}"),
    LocationField("width_level0_px", "float64", True, f"what the tile spans; {_IN_A_SET}"),
    LocationField("height_level0_px", "float64", True, f"what the tile spans; {_IN_A_SET}"),
    LocationField("item", "int64", True, "position inside a labelled set; null on a slide"),
    LocationField("member", "string", True, "path inside a labelled set; null on a slide"),
)


class PathologyDomain:
    """Slides, section pictures and labelled tile sets. See :class:`core.contracts.Domain`."""

    name: str = "pathology"
    location: Sequence[LocationField] = LOCATION
    sampling: type[Sampling] = TileSampling
    options: Mapping[str, type[Spec]] = {
        "prepare": PrepareOptions,
        "predict": ReadOptions,
        "embed": EmbedOptions,
        "suggest": SuggestOptions,
        "relations": RelationOptions,
        "features": FeatureOptions,
    }
    splits: Mapping[str, Mapping[str, Split]] = {}
    naming: Naming = NAMING
    checks: Mapping[str, str] = {
        "openslide": "openslide:__library_version__",
        "tifffile": "tifffile:__version__",
    }

    def find(self, roots: Roots, options: Spec) -> Iterator[Source | Unused]:
        """Sources below the roots, root by root, each in sorted order.

        Raises:
            DataError: a root is absent, holds two layouts or nothing, a set lacks ``--mpp``, or a
                CSV is not what it should be.
        """
        from histoscope.domains.pathology.finding import find

        if not isinstance(options, ReadOptions):
            raise DataError(f"pathology takes ReadOptions, not {type(options).__name__}")
        if not isinstance(options, PrepareOptions):
            told = {name: getattr(options, name) for name in ReadOptions.model_fields}
            options = PrepareOptions(layout="slides", **told)
        yield from find(roots, options)

    def find_features(self, roots: Roots, options: Spec) -> GivenFeatures:
        """Files of features as CLAM and TRIDENT write them, all of one encoder, cut alike.

        Raises:
            DataError: none, several encoders or ways of cutting, or these are not known.
        """
        from histoscope.domains.pathology.feature_finding import find_features

        if not isinstance(options, FeatureOptions):
            raise DataError(f"pathology takes FeatureOptions, not {type(options).__name__}")
        return find_features(roots, options)

    def open(self, source: Source, roots: Roots, sampling: Sampling) -> Reader:
        """Open a slide, a picture, a set or a file of features.

        Raises:
            UnreadableSource: with the true reason.
            DataError: a set that cannot give the tile asked for.
        """
        from histoscope.domains.pathology.discovery import file_of
        from histoscope.domains.pathology.opening import open_set_reader, open_slide

        if not isinstance(sampling, TileSampling):
            raise DataError(f"pathology cuts by TileSampling, not {type(sampling).__name__}")
        path = file_of(source, roots)
        if source.kind == "features":
            from histoscope.domains.pathology.feature_reader import FeatureReader

            return FeatureReader(path, source.told, sampling)
        if source.kind.startswith("set-"):
            return open_set_reader(source, path, sampling)
        return open_slide(source, path, sampling)

    def views(self, spec: ViewsSpec, size_px: int) -> ViewPlan:
        """The augmentations of one view of a tile whose side is ``size_px``."""
        from histoscope.domains.pathology.stain_views import make_views

        return make_views(spec, size_px)

    def render(self, reader: Reader, results: Results, options: Spec, out: Path) -> Rendering:
        """Write tables and drawings of one slide or set into ``out``."""
        from histoscope.domains.pathology.drawings import render

        if isinstance(options, FeatureOptions):  # places are of level 0, whose bounds nobody knows
            return render(reader, results, "level0", out)
        if not isinstance(options, ReadOptions):
            raise DataError(f"pathology takes ReadOptions, not {type(options).__name__}")
        return render(reader, results, options.coordinates, out)

    def export(self, options: Spec, encoder: str, sampling: Sampling) -> Export:
        """HDF5 under opaque ids, or as CLAM or TRIDENT looks it up."""
        from histoscope.domains.pathology.exports import export_of

        if not isinstance(options, EmbedOptions):
            raise DataError(f"pathology takes EmbedOptions, not {type(options).__name__}")
        if not isinstance(sampling, TileSampling):
            raise DataError(f"pathology cuts by TileSampling, not {type(sampling).__name__}")
        return export_of(options.layout, encoder, sampling)

    def point_out(
        self, source: Source, facts: Mapping[str, Scalar], rows: pa.Table, options: Spec, out: Path
    ) -> Sequence[Artefact]:
        """Write tiles of a slide as unlocked annotations of QuPath; nothing for a set."""
        from histoscope.domains.pathology.annotations.qupath import write_annotations

        if not isinstance(options, SuggestOptions):
            raise DataError(f"pathology takes SuggestOptions, not {type(options).__name__}")
        return write_annotations(source, facts, rows, options.coordinates, out)

    def around(self, rows: pa.Table, place: int) -> Sequence[Neighbour]:
        """Tiles that touch one, or overlap it."""
        from histoscope.domains.pathology.tiling import around

        return around(rows, place)

    def close_ups(
        self, reader: Reader, rows: pa.Table, places: Sequence[int]
    ) -> Iterable[CloseUp | CorruptSample]:
        """Tiles among what surrounds them, at full resolution."""
        from histoscope.domains.pathology.closeup import close_up

        return (close_up(reader, rows, place) for place in places)

    def files(self, source: Source, roots: Roots) -> Sequence[Path]:
        """A slide's file, of MIRAX with its folder; none of a series or a set."""
        from histoscope.domains.pathology.discovery import files_of

        return files_of(source, roots)

    def zoom(self, reader: Reader, out: Path, beat: Callable[[], None]) -> Zoom:
        """Write a slide as pictures of every scale."""
        from histoscope.domains.pathology.deep_zoom import write_deep_zoom

        return write_deep_zoom(reader, out, beat)

    def relations(self, index: pa.Table, spec: Spec) -> pa.Table:
        """Tiles of one slide; distances in sides of a tile, along the axis where it is larger."""
        from histoscope.domains.pathology.tiling import relations

        if not isinstance(spec, RelationOptions):
            raise DataError(f"pathology takes RelationOptions, not {type(spec).__name__}")
        return relations(index, spec.partner_sides, spec.same_sides)

    def phantom(self, out: Path, seed: int) -> Phantom:
        """Sections of six tissues in the stains of two laboratories."""
        from histoscope.domains.pathology.phantom.slides import TILE_MPP, TILE_PX, write_phantom

        write_phantom(out, seed)
        return Phantom(
            labelled=out / "labelled",
            new=out / "new",
            sampling=TileSampling(size_px=TILE_PX, tile_mpp=TILE_MPP),
            prepare_options=PrepareOptions(
                layout="folders", mpp=TILE_MPP, case_regex=r"(case-\d+)_"
            ),
            predict_options=ReadOptions(case_regex=r"(case-\d+)_"),
            pretrain={"encoder": "resnet18", "training": {"steps": 160, "batch_size": 128}},
            tasks=["tissue"],
        )
