"""Real slides, whole and broken: every one read, or refused for its true reason."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoscope.core.contracts import CorruptSample, Reader, Sample
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, ReadOptions, TileSampling
from histoscope.domains.pathology.tissue import tissue_mask

pytestmark = pytest.mark.data

SMALL, USUAL = TileSampling(size_px=64, tile_mpp=1.458), TileSampling()
REFUSED = {
    "3dhistech-dicom/10_0": "monochrome (fluorescence) DICOM",
    "TCGA-CR-7395-01A-01-TS1.svs": "no mpp in the file; give --default-mpp or --mpp-csv",
    "boxes.tiff": "352.78 um/px is the 72 dpi default",
    "broken-late.tif": "the file ends early",
    "broken-mirax.mrxs": "folder is incomplete",
    "broken.svs": "the file ends early",
    "camelyon-overview.dcm": "28.97 um/px is an overview, or a wrong scale",
    "label-only.dcm": "only the label picture",
    "made-pyramid-nompp.tif": "no mpp in the file; give --default-mpp or --mpp-csv",
    "marrow-field-jpeg.dicom": "16.78 um/px is an overview, or a wrong scale",
    "tcga-no-imagetype.dcm": "without ImageType",
    "unopenable.tiff": "compression is not supported",
    "unreadable.svs": "no part of it can be read (Bogus marker length)",
    "vsi-without-its-folder.vsi": ".ets folder",
}
WHOLE = {"CMU-1-Small-Region.svs", "made-philips.tiff", "made-pyramid-mpp0.5.tif", "made.ome.tif"}


@pytest.mark.parametrize("cut", [SMALL, USUAL], ids=["64px-1.458", "224px-0.5"])
def test_the_slides_folder(real_data: Path, cut: TileSampling) -> None:
    roots = {"input": real_data / "pathology" / "slides"}
    options = ReadOptions()
    refused, read, empty = {}, {}, {}
    for source in DOMAIN.find(roots, options):
        try:
            with DOMAIN.open(source, roots, cut) as reader:
                plan = reader.plan()
                answers = list(reader.read(plan.rows))
                good = sum(isinstance(answer, Sample) for answer in answers)
                (read if good else empty)[source.path] = (good, len(answers), plan.reason)
        except UnreadableSource as fault:
            refused[source.path] = fault.reason
    mask = "camelyon-mask-not-a-slide.tif"
    extra = {mask: "would be upsampled"} if cut is USUAL else {}
    assert set(refused) == set(REFUSED) | set(extra)
    for path, reason in (REFUSED | extra).items():
        assert reason in refused[path]
    assert set(read) == WHOLE | {"damaged-inside.svs"}
    assert all(read[path][0] == read[path][1] for path in WHOLE)
    good, planned, _ = read["damaged-inside.svs"]
    assert 0 < planned - good < planned / 2
    assert "dark picture" in empty.pop("fluorescence-DAPI.ndpi")[2]
    if cut is SMALL:
        assert "label mask" in empty.pop(mask)[2]
    assert not empty


def test_good_tiles_of_the_damaged_slide_are_those_of_the_whole_one(
    real_data: Path, open_one: Callable[..., Reader]
) -> None:
    folder = real_data / "pathology" / "slides"
    cut = TileSampling(min_tissue=0, stride_px=448)
    with open_one(folder / "damaged-inside.svs", cut) as damaged:
        rows = damaged.plan().rows
        answers = list(damaged.read(rows))
    with open_one(folder / "CMU-1-Small-Region.svs", cut) as whole:
        wanted = list(whole.read(rows))
    same = [
        (one.image == other.image).all()
        for one, other in zip(answers, wanted, strict=True)
        if isinstance(one, Sample) and isinstance(other, Sample)
    ]
    assert any(isinstance(answer, CorruptSample) for answer in answers)
    assert len(same) > 10
    assert np.mean(same) > 0.9  # zeros inside a JPEG are not always an error


def test_two_libraries_read_the_same_pyramid_alike(
    real_data: Path, open_one: Callable[..., Reader]
) -> None:
    folder = real_data / "pathology" / "slides"
    cut = TileSampling(size_px=128, tile_mpp=1.0)
    with open_one(folder / "made.ome.tif", cut) as ome:
        rows = ome.plan().rows
        first = [s.image for s in ome.read(rows) if isinstance(s, Sample)]
    with open_one(folder / "made-pyramid-mpp0.5.tif", cut) as tiff:
        assert tiff.plan().rows.equals(rows)
        second = [s.image for s in tiff.read(rows) if isinstance(s, Sample)]
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(first, second, strict=True)) <= 1


def test_no_name_reaches_the_facts(real_data: Path, open_one: Callable[..., Reader]) -> None:
    path = real_data / "pathology" / "slides" / "TCGA-CR-7395-01A-01-TS1.svs"
    with open_one(path, default_mpp=0.5) as reader:
        text = repr(dict(reader.facts))
    assert "TCGA" not in text
    assert "2013" not in text


def test_the_tissue_detector_against_the_looked_at_pictures(real_data: Path) -> None:
    folder = real_data / "pathology" / "quality"
    right = {"yes": 0, "no": 0}
    with (folder / "truth.csv").open(encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["keep"] in right]
    for row in rows:
        with Image.open(folder / row["file"]) as picture:
            part = tissue_mask(np.asarray(picture.convert("RGB"))).mean()
        right[row["keep"]] += (part >= 0.05) == (row["keep"] == "yes")
    # The two misses are the blurred fields: focus is not this detector's matter.
    assert right == {"yes": 14, "no": 9}


def test_pcam_holds_two_layouts_and_each_reads(real_data: Path) -> None:
    roots = {"input": real_data / "pathology" / "pcam"}
    with pytest.raises(DataError, match="h5 and zip"):
        list(DOMAIN.find(roots, PrepareOptions(mpp=0.972)))
    for layout, counts in (("h5", [100, 240, 60]), ("zip", [1000, 3500, 500])):
        options = PrepareOptions.model_validate({"mpp": 0.972, "layout": layout})
        found = list(DOMAIN.find(roots, options))
        assert [source.split for source in found] == ["test", "train", "valid"]
        for source, count in zip(found, counts, strict=True):
            with DOMAIN.open(source, roots, SMALL) as reader:
                plan = reader.plan()
                assert len(plan.rows) == count
                assert set(plan.labels["tissue"].values.to_pylist()) == {"0", "1"}
                sample = next(iter(reader.read(plan.rows.slice(7, 1))))
                assert isinstance(sample, Sample)
                assert sample.image.shape == (64, 64, 3)


def test_dicom_members_are_one_source_under_any_folder_name(
    real_data: Path, tmp_path: Path
) -> None:
    origin = real_data / "pathology" / "slides" / "3dhistech-dicom"
    shutil.copytree(origin, tmp_path / "moved")
    here = list(DOMAIN.find({"input": origin}, ReadOptions()))
    there = list(DOMAIN.find({"input": tmp_path / "moved"}, ReadOptions()))
    assert [source.id for source in here] == [source.id for source in there]
    assert len(here) == 1
