"""File names of slides and pictures."""

from __future__ import annotations

from pathlib import PurePath, PurePosixPath

from histoscope.core.tables.names import Naming

SLIDE_COLUMNS = ("slide", "wsi", "slide_id")  # what CSV files call a slide
TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".svs", ".ndpi", ".scn", ".bif", ".qptiff", ".avs"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
TO_CONVERT = {
    ".vsi": "Olympus VSI",
    ".isyntax": "Philips iSyntax",
    ".i2syntax": "Philips iSyntax",
    ".kfb": "KFBio KFB",
    ".sdpc": "Sqray SDPC",
    ".lif": "Leica LIF",
}
SLIDE_SUFFIXES = frozenset(
    {
        ".svs",
        ".ndpi",
        ".vms",
        ".vmu",
        ".scn",
        ".mrxs",
        ".bif",
        ".svslide",
        ".czi",
        ".qptiff",
        ".avs",
    }
    | DICOM_SUFFIXES
    | set(TO_CONVERT)
)
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".jp2", ".j2k"})
TILE_SUFFIXES = PICTURE_SUFFIXES | {".tif", ".tiff"}
OTHERS = {
    **dict.fromkeys(
        (".gif", ".heic", ".heif", ".avif", ".jxl", ".jxr", ".ppm", ".tga", ".psd", ".btf"),
        "convert such pictures to PNG, such slides to OME-TIFF",
    ),
    **dict.fromkeys((".npy", ".npz"), "write arrays as HDF5 or PNG"),
    **dict.fromkeys(
        (".h5", ".hdf5"), "HDF5 is read as pairs NAME_x.h5 and NAME_y.h5 in the input itself"
    ),
    **dict.fromkeys((".zip",), "zips are read with class folders in them, in the input itself"),
}  # what looks like a source, and is none; and why


NAMING = Naming(
    (
        *(".ome.tif", ".ome.tiff", ".ome.btf"),
        *sorted(SLIDE_SUFFIXES | TILE_SUFFIXES | TIFF_SUFFIXES),
    ),
    words=SLIDE_COLUMNS,
)


def suffix_of(path: PurePath) -> str:
    """Lower-case suffix with its dot."""
    return path.suffix.lower()


def is_tile_name(name: str) -> bool:
    """Whether a member's name is that of a picture and not a hidden file."""
    place = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in place.parts)
    return suffix_of(place) in TILE_SUFFIXES and not hidden


def may_be_bare_dicom(path: PurePath) -> bool:
    """Whether a name is one that DICOM files have when they carry no suffix of their own."""
    suffix = path.suffix.removeprefix(".")
    return not suffix or suffix.isdigit()
