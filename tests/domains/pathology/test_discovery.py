from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydantic import ValidationError

from histoscope.apps.cli import run
from histoscope.core.contracts import Domain, Source, Unused
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.files import write_json
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.dicom import SLIDE_CLASS, DicomHead, read_head
from histoscope.domains.pathology.options import PrepareOptions, ReadOptions, TileSampling


def find(place: Path, **options: object) -> list[Source]:
    return of_kind(Source, place, **options)


def of_kind(kind: type, place: Path, **options: object) -> list[Any]:
    """Sources, or what is not used."""
    found = DOMAIN.find({"input": place}, ReadOptions.model_validate(options))
    return [one for one in found if isinstance(one, kind)]


def draw(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def dicom(path: Path, flavour: str, series: str) -> None:
    nested = element(0x0008, 0x0008, b"CS", b"WRONG\\ONE\\INSIDE")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + nested
    item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    sequence = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + item
    sequence += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    body = [
        element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1"),
        element(0x0008, 0x0005, b"CS", b"ISO_IR 999"),  # unknown, which pydicom warns of
        element(0x0008, 0x0008, b"CS", f"ORIGINAL\\PRIMARY\\{flavour}\\NONE".encode()),
        element(0x0008, 0x0016, b"UI", SLIDE_CLASS.encode()),
        sequence,
        element(0x0020, 0x000E, b"UI", series.encode()),
        element(0x0028, 0x0004, b"CS", b"RGB"),
        element(0x0028, 0x0010, b"US", b"\1\0"),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 128 + b"DICM" + b"".join(body))


def test_the_domain_keeps_its_contract() -> None:
    assert isinstance(DOMAIN, Domain)
    commands = {"prepare", "predict", "embed", "suggest"}
    assert set(DOMAIN.options) == commands | {"relations", "features"}


def test_declaring_the_domain_loads_nothing_heavy() -> None:
    heavy = "torch,openslide,tifffile,h5py,PIL,cv2,pyarrow"
    code = (
        "import sys, histoscope.domains.pathology\n"
        f"print([name for name in '{heavy}'.split(',') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("model", [PrepareOptions, ReadOptions, TileSampling])
def test_every_option_explains_itself(model: type[ReadOptions]) -> None:
    assert all(field.description for field in model.model_fields.values())


def test_a_pattern_without_a_group_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs a group"):
        ReadOptions(case_regex="TCGA")


def test_slides_are_found_in_order_and_text_is_passed_over(tmp_path: Path) -> None:
    for seed, name in enumerate(["b/2.png", "a.jpg", "b/1.png"]):
        draw(tmp_path / name, seed)
    for name in ["notes.txt", "labels.csv", "b/a.geojson", "README", ".hidden.png"]:
        (tmp_path / name).write_text("text")
    found = find(tmp_path)
    assert [source.path for source in found] == ["a.jpg", "b/1.png", "b/2.png"]
    assert all(len(source.id) == 16 and int(source.id, 16) >= 0 for source in found)


def test_ids_stay_when_the_folder_moves(tmp_path: Path) -> None:
    draw(tmp_path / "one/a.png")
    before = find(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    assert find(tmp_path / "two") == before


def test_a_copy_is_read_once_and_said(tmp_path: Path) -> None:
    draw(tmp_path / "x/a.png")
    draw(tmp_path / "y/a.png")
    (source,) = find(tmp_path)
    assert source.path == "x/a.png"
    assert "y/a.png" in source.note


def test_one_file_may_be_the_root(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png", 1)
    assert [source.path for source in find(tmp_path / "a.png")] == ["a.png"]


def test_a_dicom_slide_of_several_files_is_one_source(tmp_path: Path) -> None:
    dicom(tmp_path / "s/1", "LABEL", "1.2.3")
    dicom(tmp_path / "s/2", "VOLUME", "1.2.3")
    dicom(tmp_path / "s/1.2.3.4", "VOLUME", "1.2.4")
    found = find(tmp_path)
    assert [source.path for source in found] == ["s/1.2.3.4", "s/2"]


def test_dicom_tags_inside_sequences_are_not_taken(tmp_path: Path) -> None:
    dicom(tmp_path / "a.dcm", "VOLUME", "1.2.3")
    head = read_head(tmp_path / "a.dcm")
    assert head is not None
    assert (head.flavour, head.series, head.photometric) == ("VOLUME", "1.2.3", "RGB")


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_implicit_and_big_endian_dicom_is_read_too(tmp_path: Path, syntax: str) -> None:
    slide = pydicom.Dataset()
    slide.SOPClassUID, slide.SOPInstanceUID, slide.SeriesInstanceUID = SLIDE_CLASS, "1.2", "1.2.3"
    slide.ImageType, slide.PhotometricInterpretation = ["ORIGINAL", "PRIMARY", "LABEL"], "RGB"
    slide.file_meta = pydicom.dataset.FileMetaDataset()
    slide.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    slide.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    head = read_head(tmp_path / "a.dcm")
    assert head == DicomHead(SLIDE_CLASS, "ORIGINAL\\PRIMARY\\LABEL", "1.2.3", "RGB")


@pytest.mark.parametrize("length", range(132, 340))
def test_a_cut_dicom_head_says_what_it_can(tmp_path: Path, length: int) -> None:
    dicom(tmp_path / "a.dcm", "VOLUME", "1.2.3")
    whole = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(whole[:length])
    head = read_head(tmp_path / "a.dcm")
    assert head is not None
    values = (head.image_type, head.sop_class, head.series, head.photometric)
    for value in (b"ORIGINAL\\PRIMARY\\VOLUME\\NONE", SLIDE_CLASS.encode(), b"1.2.3", b"RGB"):
        assert (value.decode() in values) == (whole[:length].rfind(value) >= 0), value


def test_a_mirax_folder_is_not_searched(tmp_path: Path) -> None:
    (tmp_path / "a.mrxs").write_bytes(b"x")
    draw(tmp_path / "a/inside.png")
    assert [source.path for source in find(tmp_path)] == ["a.mrxs"]


def test_pictures_that_a_vms_file_names_belong_to_it(tmp_path: Path) -> None:
    (tmp_path / "s.vms").write_text("[Virtual Microscope Specimen]\nImageFile=s.jpg\n")
    draw(tmp_path / "s.jpg")
    assert [source.path for source in find(tmp_path)] == ["s.vms"]


def test_cases_come_from_a_table_or_a_pattern(tmp_path: Path) -> None:
    draw(tmp_path / "in/P7/a.png")
    draw(tmp_path / "in/P8/b.png", 1)
    (tmp_path / "cases.csv").write_text("slide;case\nb;K9\n")
    options = {"cases": tmp_path / "cases.csv", "case_regex": r"^(P\d+)/"}
    assert [source.case for source in find(tmp_path / "in", **options)] == ["P7", "K9"]


def test_nothing_found_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no slide or picture found"):
        find(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        find(tmp_path / "absent")


def test_a_link_that_leads_back_ends(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert [source.path for source in find(tmp_path)] == ["a.png"]


def test_a_folder_that_cannot_be_listed_and_a_pipe_are_rows(tmp_path: Path, monkeypatch) -> None:
    """The pipe has a picture's name, and nobody ever writes into it."""
    draw(tmp_path / "a.png")
    (tmp_path / "lost+found").mkdir()
    os.mkfifo(tmp_path / "p.tif")
    listed = Path.iterdir

    def iterdir(folder: Path):
        if folder.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    found = find(tmp_path)
    assert [source.path for source in found] == ["a.png", "lost+found", "p.tif"]
    for source, reason in zip(found[1:], ("cannot be listed", "neither a file"), strict=True):
        with pytest.raises(UnreadableSource, match=reason):
            DOMAIN.open(source, {"input": tmp_path}, TileSampling())
    monkeypatch.setattr(Path, "iterdir", lambda folder: iterdir(folder / "lost+found"))
    with pytest.raises(DataError, match="Permission denied"):
        find(tmp_path)


def odd_name(folder: Path, name: bytes, data: bytes) -> None:
    """A file whose name is not UTF-8, where the file system takes it."""
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(data)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")


@pytest.mark.parametrize("name", [b"M\xfcller_HE.png", b"\x8f\xe8.jpg"])
def test_a_name_that_is_not_utf8_is_one_row_and_the_rest_goes_on(
    tmp_path: Path, name: bytes
) -> None:
    draw(tmp_path / "in" / "good.png")
    data = (tmp_path / "in" / "good.png").read_bytes()
    odd_name(tmp_path / "in", name, data + b"1")
    cut = ["--default-mpp", "0.5", "--size-px", "16", "--min-tissue", "0", "--workers", "0"]
    words = ["prepare", str(tmp_path / "in"), "--domain", "pathology", *cut]
    assert run([*words, "--out", str(tmp_path / "out")]) == 1
    store = Store(tmp_path / "out")
    rows = {row["path"]: row for row in store.manifest.values()}
    odd = os.fsdecode(name).encode("utf-8", "backslashreplace").decode()
    assert rows[odd]["reason"] == "its name is not UTF-8; rename it"
    assert (rows["good.png"]["status"], rows["good.png"]["samples"]) == ("done", 1)
    assert odd in (tmp_path / "out" / "manifest.csv").read_text(encoding="utf-8")
    assert run([*words, "--dry-run", "--out", str(tmp_path / "out")]) == 0


def test_pictures_of_a_set_may_have_any_name(tmp_path: Path) -> None:
    for label in ("a", "b"):
        draw(tmp_path / "in" / label / "good.png")
        data = (tmp_path / "in" / label / "good.png").read_bytes()
        odd_name(tmp_path / "in" / label, b"\xfc.png", data)
    words = ["prepare", str(tmp_path / "in"), "--domain", "pathology", "--mpp", "0.5"]
    assert run([*words, "--size-px", "16", "--workers", "0", "--out", str(tmp_path / "out")]) == 0
    members = Store(tmp_path / "out").index.column("member").to_pylist()
    assert members == ["a/good.png", "a/\\udcfc.png", "b/good.png", "b/\\udcfc.png"]


def test_a_folder_of_results_whose_name_is_not_utf8_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "in" / "good.png")
    words = ["prepare", str(tmp_path / "in"), "--domain", "pathology", "--workers", "0"]
    assert run([*words, "--out", str(tmp_path / "\udcfc")]) == 2
    assert "not UTF-8; give another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("predict.json", "histoscope.predict"),
        ("settings.json", "histoscope.settings"),  # of a store that is not finished
        ("store.json", "histoscope.store"),
        ("encoder.json", "histoscope.encoder"),
        ("metrics.json", "histoscope.metrics"),
    ],
)
def test_folders_of_results_are_not_searched_and_that_is_said(
    tmp_path: Path, name: str, form: str
) -> None:
    draw(tmp_path / "a.png")
    draw(tmp_path / "out" / "results" / "1" / "overlay.png", 1)
    write_json(tmp_path / "out" / name, form, 1, {})
    assert [source.path for source in find(tmp_path)] == ["a.png"]
    (passed,) = of_kind(Unused, tmp_path)
    assert (passed.name, passed.reason) == ("out", "results of histoscope; not searched")


def test_a_file_of_that_name_that_is_somebody_elses_hides_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "web" / "a.png")
    (tmp_path / "web" / "package.json").write_text('{"name": "viewer", "version": "1.0"}')
    assert [source.path for source in find(tmp_path)] == ["web/a.png"]


def test_a_link_that_leads_back_is_said(tmp_path: Path) -> None:
    draw(tmp_path / "p" / "a.png")
    (tmp_path / "p" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "q").symlink_to(tmp_path / "absent")
    assert [source.path for source in find(tmp_path)] == ["p/a.png"]
    assert {one.name: one.reason for one in of_kind(Unused, tmp_path)} == {
        "p/loop": f"leads to {tmp_path}, searched already; not read twice",
        "q": "a link that leads nowhere",
    }
