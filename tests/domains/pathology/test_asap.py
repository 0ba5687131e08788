"""ASAP annotations: how they are read, and that they label tiles as QuPath's do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely

from histoscope.apps.cli import run
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError
from histoscope.domains.pathology.annotations.asap import read_asap, spline
from histoscope.domains.pathology.annotations.reading import classes_in, read_drawings
from tests.domains.pathology.asap_files import SQUARE, annotation, write


@pytest.mark.parametrize(
    ("given", "area", "note"),
    [
        (annotation(), 100, ""),
        (annotation(kind="Rectangle"), 100, ""),
        (annotation([(0, 10), (10, 0)], kind="Rectangle"), 100, ""),
        (annotation([SQUARE[n] for n in (2, 0, 3, 1)], order=[2, 0, 3, 1]), 100, ""),
        (annotation([*SQUARE, SQUARE[0]]), 100, ""),
        (annotation([(0, 0), (10, 10), (10, 0), (0, 10)]), 50, "mended: self-intersection"),
        (annotation([(3, 4)], kind="Dot"), None, "a Dot has no area"),
        (annotation(kind="PointSet"), None, "a PointSet has no area"),
        (annotation(SQUARE[:2], kind="Measurement"), None, "a Measurement has no area"),
        (annotation(kind=""), None, "a drawing without a type has no area"),
        (annotation(SQUARE[:2]), None, "a Polygon of 2 points has no area"),
        (annotation([(0, 0), (5, 5), (9, 9)]), None, "a Polygon has no area"),
        (annotation([(0, "nan"), *SQUARE]), None, "its points cannot be read (a coordinate is"),
        (annotation([("x", 0), *SQUARE]), None, "its points cannot be read (could not convert"),
        (annotation([(0, 0), (1e308, 0), (1e308, 1e308)]), None, ("a Polygon", "its geometry")),
        (annotation([(-1e308, -1e308), (1e308, 1e308)], "Rectangle"), None, ("a Rect", "its geo")),
        (annotation([(0, 0), (1e-170, 0), *SQUARE[1:]], kind="Spline"), None, "its points"),
        (annotation().replace('Order="1"', ""), 100, ""),
    ],
)
def test_what_is_drawn_is_read_or_said_to_be_unusable(tmp_path, given, area, note):
    (one,) = read_asap(write(tmp_path / "x.xml", given))
    assert (one.number, one.name, one.kind) == (1, "a", "Tumor")
    assert (one.outline and one.outline.area) == area
    assert one.note.startswith(note)  # one of several, where the library decides
    assert bool(one.note) == bool(note)


def test_a_group_is_the_class_listed_or_not(tmp_path):
    path = write(tmp_path / "x.xml", *(annotation(group=g) for g in ("Tumor", "None", "", "Odd")))
    found = read_asap(path)
    assert [one.kind for one in found] == ["Tumor", None, None, "Odd"]
    assert [one.note for one in found] == ["", "", "", "group 'Odd' is not listed in the file"]
    assert all(one.outline is not None for one in found)
    assert classes_in(path) == {"Tumor", "Odd"}


def test_pixels_are_of_level_0_whatever_qupath_would_crop(tmp_path):
    (one,) = read_drawings(write(tmp_path / "x.xml", annotation()), (1000, 2000))
    assert one.outline.bounds == (0, 0, 10, 10)


def test_a_spline_is_the_curve_that_was_seen():
    rng = np.random.default_rng(0)
    points, steps = rng.uniform(0, 1000, (7, 2)), 8
    curve = spline(points, steps)
    assert len(curve) == 7 * steps
    np.testing.assert_allclose(curve[::steps], points, atol=1e-9)
    for place in range(7):  # as the cubic Bezier curves that a painter is given
        p0, p1, p2, p3 = (points[(place + shift) % 7] for shift in (-1, 0, 1, 2))
        d1, d2, d3 = (math.dist(*pair) for pair in ((p0, p1), (p1, p2), (p2, p3)))
        r1, r2, r3 = map(math.sqrt, (d1, d2, d3))
        b1 = (d1 * p2 - d2 * p0 + (2 * d1 + 3 * r1 * r2 + d2) * p1) / (3 * r1 * (r1 + r2))
        b2 = (d3 * p1 - d2 * p3 + (2 * d3 + 3 * r3 * r2 + d2) * p2) / (3 * r3 * (r3 + r2))
        for step in range(steps):
            t = step / steps
            parts = (1 - t) ** 3 * p1, 3 * (1 - t) ** 2 * t * b1, 3 * (1 - t) * t**2 * b2, t**3 * p2
            np.testing.assert_allclose(curve[place * steps + step], sum(parts), atol=1e-9)


def test_a_spline_bulges_beyond_its_points(tmp_path):
    round_, straight = read_asap(
        write(tmp_path / "x.xml", annotation(kind="Spline"), annotation(kind="Polygon"))
    )
    assert straight.outline.area < round_.outline.area < 1.4 * straight.outline.area
    doubled = [SQUARE[0], SQUARE[0], *SQUARE[1:]]
    (same,) = read_asap(write(tmp_path / "y.xml", annotation(doubled, kind="Spline")))
    assert same.outline.equals(round_.outline)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "x.xml: not XML"),
        ("<a>", "x.xml: not XML"),
        ("{}", "x.xml: not XML"),
        ('<?xml version="1.0" encoding="odd"?><a/>', "x.xml: not XML"),
        ("<Annotations><Annotation/></Annotations>", "x.xml: an XML of Annotations, not ASAP_Anno"),
    ],
)
def test_another_file_is_refused_in_a_line(tmp_path, body, said):
    (tmp_path / "x.xml").write_text(body)
    with pytest.raises(DataError, match=said) as fault:
        read_asap(tmp_path / "x.xml")
    assert "\n" not in str(fault.value)
    with pytest.raises(DataError, match=r"y.xml: No such file"):
        read_asap(tmp_path / "y.xml")


@pytest.mark.data
def test_real_files_are_read(real_data):
    folder = real_data / "pathology" / "annotations"
    kinds = {
        "asap-008_060_HE.xml": {"artifact", "tissue", "background"},
        "asap-normal_042.xml": {"tissue"},
        "asap-tumor_031.xml": {"tissue", "negative"},
        "camelyon16-tumor_085.xml": {"metastasis"},
    }
    for name, expected in kinds.items():
        found = read_drawings(folder / name)
        assert {one.kind for one in found} == expected
        assert all(one.outline is not None for one in found)
    assert len(read_drawings(folder / "camelyon16-tumor_085.xml")) == 50
    with pytest.raises(DataError, match="an XML of Annotations"):
        read_drawings(folder / "imagescope-TCGA-EJ-5518.xml")
    pair = [read_drawings(folder / f"made-CMU-1-Small-Region.{one}") for one in ("geojson", "xml")]
    for ours, theirs in zip(*pair, strict=True):
        assert ours.kind == theirs.kind
        assert shapely.area(shapely.symmetric_difference(ours.outline, theirs.outline)) < 1


@pytest.mark.data
def test_a_model_is_made_of_either_form_of_the_same_drawings(real_data, tmp_path):
    source, labels = real_data / "pathology", []
    slide = source / "slides" / "CMU-1-Small-Region.svs"
    for form in ("geojson", "xml"):
        drawn = tmp_path / form
        drawn.mkdir()
        made = source / "annotations" / f"made-CMU-1-Small-Region.{form}"
        (drawn / f"CMU-1-Small-Region.{form}").write_bytes(made.read_bytes())
        cut = ("--domain", "pathology", "--size-px", 64, "--tile-mpp", 1, "--min-tissue", 0)
        store, package = tmp_path / f"store-{form}", tmp_path / f"package-{form}"
        asked = ("--annotations", drawn, "--task", "what", "--workers", 0, "--out", store)
        few = ("--draws", 1, "--fraction", 1, "--set", "method=probe")
        for words in (
            ("prepare", slide, *cut, *asked),
            ("finetune", store, "--encoder", "colour", *few, "--out", package),
        ):
            assert run([str(word) for word in words]) == 0, words
        labels.append(Store(store).labels("what"))
    one, other = (
        dict(zip(table.names.to_pylist(), table.rows["label"].to_pylist(), strict=True))
        for table in labels
    )
    assert one == other
    assert {"Tissue", "Glass"} <= set(one.values())
