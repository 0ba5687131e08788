"""Features that CLAM or TRIDENT computed: one source a file, all of one encoder, cut alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from histoscope.core.contracts import GivenFeatures, Roots, Source, Unused
from histoscope.core.errors import DataError, UnreadableSource, printable
from histoscope.core.tables.files import Cases
from histoscope.core.tables.names import Naming
from histoscope.domains.pathology.discovery import identify
from histoscope.domains.pathology.feature_files import (
    OF_PATCHES,
    UM_TIMES,
    FeatureHead,
    read_head,
    read_patches,
)
from histoscope.domains.pathology.formats import NAMING, SLIDE_COLUMNS
from histoscope.domains.pathology.options import FeatureOptions, TileSampling

KIND = "features"
SUFFIXES = (".h5", ".hdf5")
FEATURE_NAMING = Naming((*NAMING.suffixes, *SUFFIXES), words=SLIDE_COLUMNS, loose=True)
SAME = 0.01  # by which scales of one encoder's features may differ


_Found = tuple[Path, str, FeatureHead | str]  # file, digest of its content, what it says or why not


@dataclass(frozen=True)
class _Cut:
    """What all files must agree on."""

    encoder: str | None
    dim: int
    patch_px: int | None
    mpp: float | None
    weights: str | None

    @classmethod
    def of(cls, head: FeatureHead) -> _Cut:
        assert head.dim is not None
        mpp = None if head.mpp is None else round(head.mpp, 4)
        return cls(head.encoder, head.dim, head.patch_px, mpp, head.weights)

    def said(self) -> str:
        """In words, with what is not known."""
        px = "?" if self.patch_px is None else self.patch_px
        power = "?" if self.mpp is None else f"{UM_TIMES / self.mpp:.3g}"
        weights = f", weights {self.weights[:8]}" if self.weights else ""
        return f"{self.encoder or '?'}, {self.dim} wide, {px} px at {power}x{weights}"


def find_features(roots: Roots, options: FeatureOptions) -> GivenFeatures:
    """All files of features below the roots.

    Raises:
        DataError: none, of several encoders or ways of cutting, or these are not known.
    """
    found, unused = list[Source](), list[Unused]()
    for root, place in roots.items():
        for one in _below(root, place):
            (found if isinstance(one, Source) else unused).append(one)  # type: ignore[arg-type]
    where = ", ".join(map(str, roots.values()))
    heads = [one.told for one in found if not one.refused and one.told.dim is not None]
    if not heads:
        whys = sorted({one.refused or "no features in it" for one in found})
        raise DataError(f"--features {where}: no file of features ({'; '.join(whys) or 'no .h5'})")
    cut = _agreed(found, options, where)
    cases = Cases(
        options.cases, options.case_regex, SLIDE_COLUMNS, FEATURE_NAMING, options.missing_cases
    )
    known, idle = cases.of([one.path for one in found])
    sources = [replace(one, case=known[one.path]) for one in found if one.path in known]
    assert cut.patch_px is not None
    assert cut.mpp is not None
    sampling = TileSampling(
        size_px=cut.patch_px,
        tile_mpp=cut.mpp,
        stride_px=_stride(heads, cut.patch_px),
        min_tissue=0,
    )
    name = cut.encoder or ""
    return GivenFeatures(
        name, cut.dim, sampling, sources, [*unused, *idle], FEATURE_NAMING, cut.weights or ""
    )


def _stride(heads: Sequence[FeatureHead], patch_px: int) -> int | None:
    """Step from patch to patch where they overlap, all by as much."""
    overlaps = {head.overlap_px for head in heads}
    return patch_px - overlaps.pop() if len(overlaps) == 1 and overlaps != {0} else None


def _agreed(found: Sequence[Source], options: FeatureOptions, where: str) -> _Cut:
    """What all files are of, and what was told of those that do not say it."""
    groups = dict[_Cut, list[str]]()
    for one in found:
        if not one.refused and one.told.dim is not None:
            groups.setdefault(_Cut.of(one.told), []).append(one.path)
    if len(groups) > 1:
        parts = [f"{len(paths)} of {cut.said()} (as {paths[0]})" for cut, paths in groups.items()]
        raise DataError(f"--features {where}: files differ: {'; '.join(parts)}; give those of one")
    (cut,) = groups
    told: dict[str, Any] = {
        "encoder": options.feature_encoder,
        "patch_px": options.patch_px,
        "mpp": UM_TIMES / options.magnification if options.magnification else None,
    }
    flags = {"encoder": "--feature-encoder", "patch_px": "--patch-px", "mpp": "--magnification"}
    for name, value in told.items():
        stated = getattr(cut, name)
        if value is not None and stated is not None and not _near(value, stated):
            raise DataError(f"{flags[name]}: the files of {where} say {cut.said()}")
        if value is None and stated is None:
            raise DataError(
                f"--features {where}: its files do not say all ({cut.said()}); give {flags[name]}"
            )
    return replace(cut, **{name: one for name, one in told.items() if one is not None})


def _near(value: Any, stated: Any) -> bool:
    if isinstance(value, float):
        return bool(abs(value - stated) <= SAME * stated)
    return bool(value == stated)


def _below(root: str, place: Path) -> Iterator[Source | Unused]:
    """Files of features, behind what is not used."""
    if not place.exists():
        raise DataError(f"{place}: no such file or folder")
    base = place.parent if place.is_file() else place
    files = [place] if place.is_file() else sorted(one for one in place.rglob("*") if one.is_file())
    patches, found = dict[str, FeatureHead](), dict[str, _Found]()
    for path in files:
        name = printable(path.relative_to(base).as_posix())
        if path.suffix.lower() == ".pt":
            yield Unused("files of tensors", name, "features are read from HDF5, which has places")
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            head: FeatureHead | str | None = _head(path)
            told = read_patches(path) if head is None else None
        except UnreadableSource as fault:
            head, told = str(fault), None
        if told is not None:
            patches[path.stem.removesuffix(OF_PATCHES)] = told
        elif head is None:
            yield Unused("HDF5 files", name, "it holds neither features nor places of patches")
        else:
            content = identify((path,), base)
            known = None if isinstance(head, str) else head.source
            found.setdefault(known or content, (path, content, head))
    yield from _sources(root, base, found, patches)


def _head(path: Path) -> FeatureHead | None:
    lock = path.with_name(f"{path.name}.lock")
    if lock.exists():
        raise UnreadableSource(f"{lock.name} lies beside it: it is being written")
    return read_head(path)


def _sources(
    root: str,
    base: Path,
    found: Mapping[str, _Found],
    patches: Mapping[str, FeatureHead],
) -> Iterator[Source]:
    """One source a file, with what the file of its patches says; read again when it changes."""
    for identity, (path, content, head) in found.items():
        name = path.relative_to(base).as_posix()
        if isinstance(head, str):
            yield Source(identity, name, root, KIND, refused=head, told=FeatureHead(0))
        else:
            beside = patches.get(path.stem)
            told = head.cut_as(beside) if beside else head
            yield Source(identity, name, root, KIND, given=content, told=told)
