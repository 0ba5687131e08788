"""Sets that the defaults do not fit: the message says why, and how they are used all the same."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histoscope.core.config import build
from histoscope.core.contracts import Results
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.local import Local
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.drawings import render
from histoscope.domains.surgery.label_files import PHASE_FOLDER
from histoscope.domains.surgery.labels import PHASE
from histoscope.domains.surgery.options import FrameSampling, PredictOptions, PrepareOptions
from histoscope.domains.surgery.phases import PHASES
from tests.domains.surgery.clips import encode_some

CUT = FrameSampling(size_px=32, fps=5)
ABSENT = "CleaningCoagulation"
HELD = tuple(name for name in PHASES if name != ABSENT)


def made(place: Path, out: Path) -> tuple[Store, list[str]]:
    """A store of a folder, and the sources' reasons."""
    roots, options = {"input": place}, PrepareOptions()
    outcomes = prepare(DOMAIN, roots, CUT, options, out, engine=Local(0), progress=Silent())
    return Store(out), [outcome.reason for outcome in outcomes]


def write_film(path: Path, tint: tuple[float, float, float], count: int = 125) -> None:
    """A pattern that moves, in a tint."""
    rng = np.random.default_rng(0)
    ground = rng.integers(40, 200, (64, 64, 1)).repeat(3, 2)
    frames = [
        np.clip(np.roll(ground, 3 * number, 1) * tint, 0, 255).astype(np.uint8)
        for number in range(count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    encode_some(path, frames, "libx264", {"preset": "ultrafast", "crf": "10"})


@pytest.mark.parametrize("tint", [(1, 1, 1), (0.95, 1, 1.05), (0.6, 1, 0.6)])
def test_a_film_that_is_not_red_is_doubted_and_can_be_read(tmp_path: Path, tint):
    write_film(tmp_path / "in" / "a.mp4", tint)
    store, reasons = made(tmp_path / "in", tmp_path / "store")
    assert reasons == ["all samples are marked outside?, which is doubtful: marked=true reads them"]
    spec = build(PretrainSpec, {"training": {"steps": 1}}, "test")
    message = r"left out as marked: 25 outside\?; --set marked=true reads them$"
    with pytest.raises(DataError, match=message) as caught:
        pretrain(store, DOMAIN, spec, tmp_path / "run", progress=Silent())
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_film_of_which_some_is_marked_is_not_doubted(tmp_path: Path):
    write_film(tmp_path / "in" / "a.mp4", (1, 0.4, 0.4))
    assert made(tmp_path / "in", tmp_path / "store")[1] == [""]


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which one of seven phases never occurs."""
    place = tmp_path_factory.mktemp("six")
    write_film(place / "in" / "videos" / "video01.mp4", (1, 0.4, 0.4), 150)
    (place / "in" / PHASE_FOLDER).mkdir()
    rows = [f"{number}\t{HELD[number // 25]}" for number in range(150)]
    file = place / "in" / PHASE_FOLDER / "video01-phase.txt"
    file.write_text("\n".join(["Frame\tPhase", *rows]) + "\n")
    made(place / "in", place / "store")
    return place / "store"


def learn(store: Path, out: Path, classes: tuple[str, ...] = ()):
    spec = build(FinetuneSpec, {"fraction": 1, "draws": 1}, "test")
    return finetune(Store(store), "colour", spec, out, classes=classes, progress=Silent())


def test_a_phase_that_never_occurs_may_be_left_out(six: Path, tmp_path: Path):
    with pytest.raises(DataError, match=f"none labelled {ABSENT}") as caught:
        learn(six, tmp_path / "package")
    way = re.search(r"learn the others only: --classes (\S+)$", str(caught.value))
    assert way is not None
    assert tuple(way.group(1).split(",")) == HELD
    package = learn(six, tmp_path / "package", HELD)
    assert package.tasks[0].classes == HELD
    scored = evaluate(package, Store(six), tmp_path / "scores", allow_seen=True, progress=Silent())
    assert scored


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (HELD[1:], r"leaves out Preparation, which 5 labels of 'phase' name"),
        ((*HELD, "Cliping"), r"'Cliping' is no class of 'phase', did you mean 'ClippingCutting'"),
    ],
)
def test_only_a_class_without_labels_is_left_out(six: Path, tmp_path: Path, classes, said: str):
    with pytest.raises(UsageError, match=said):
        learn(six, tmp_path / "package", classes)
    assert Store(six).labels(PHASE).task.classes == PHASES


def test_labels_in_another_part_are_no_reason_to_leave_a_class_out(six: Path, tmp_path: Path):
    store = Path(shutil.copytree(six, tmp_path / "store"))
    ids = Store(store).index.column("id").to_pylist()
    rows = [f"{one},{'test' if place < 5 else 'train'}" for place, one in enumerate(ids)]
    (tmp_path / "split.csv").write_text("\n".join(["id,split", *rows]))
    spec = build(FinetuneSpec, {"fraction": 1, "draws": 1}, "test")
    with pytest.raises(DataError, match="give a --split that has some"):
        finetune(
            Store(store),
            "colour",
            spec,
            tmp_path / "package",
            split=f"{tmp_path / 'split.csv'}:train",
            progress=Silent(),
        )


def test_a_timeline_without_answers_claims_none(tmp_path: Path):
    """Where a model speaks of whole operations, only marks are drawn."""
    write_film(tmp_path / "in" / "a.mp4", (1, 0.4, 0.4), 50)
    roots = {"input": tmp_path / "in"}
    (source,) = DOMAIN.find(roots, PrepareOptions())
    with DOMAIN.open(source, roots, CUT) as reader:
        rows = reader.plan().rows
        judged = rows.append_column("status", pa.array(["ok"] * len(rows)))
        judged = judged.append_column("mark", pa.array([None] * len(rows), pa.string()))
        found = render(reader, Results(source, judged, ()), PredictOptions(), tmp_path / "out")
    (picture,) = (one for one in found.artefacts if one.kind == "picture")
    assert (tmp_path / "out" / picture.file).is_file()
    assert "What the model named" not in picture.caption
