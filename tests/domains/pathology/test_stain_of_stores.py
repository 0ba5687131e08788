"""Stain statistics of a store: the command that writes them, and the loader that draws by them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from histoscope.apps.cli import run
from histoscope.core.config import build, load_yaml
from histoscope.core.data.loader import Family, ViewDataset, view_loader
from histoscope.core.data.order import Positions, StepOrder
from histoscope.core.data.store import ImageReader, Store
from histoscope.core.views.spec import ViewsSpec
from histoscope.domains.pathology.stain_statistics import (
    StatisticsSpec,
)
from histoscope.domains.pathology.stain_views import PathologyViews, make_views
from tests.domains.pathology.test_stain_statistics import RANGES, pink, spec_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty stained tiles of 32 px."""
    folder, out = tmp_path_factory.mktemp("set"), tmp_path_factory.mktemp("store") / "store"
    for place, image in enumerate(pink(20, 32).permute(0, 2, 3, 1).mul(255).byte().numpy()):
        (folder / "train" / "one").mkdir(parents=True, exist_ok=True)
        shade = np.clip(image * (0.85 + 0.01 * place), 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(folder / "train" / "one" / f"{place}.png"), shade[:, :, ::-1])
    cut = (
        "--layout",
        "folders",
        "--mpp",
        "1",
        "--tile-mpp",
        "1",
        "--size-px",
        "32",
        "--workers",
        "0",
    )
    assert run(["prepare", str(folder), "--domain", "pathology", *cut, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("space", RANGES)
def test_the_command_writes_what_pretrain_takes_as_it_is(store, space, tmp_path, capsys):
    file = tmp_path / "stain.yaml"
    words = ["stain", str(store), "--space", space, "--out", str(file)]
    assert run(words) == 0
    assert "20 images with tissue out of 20 read" in capsys.readouterr().out
    first = file.read_bytes()
    assert run(words) == 0
    assert file.read_bytes() == first
    learn = ["--out", str(tmp_path / "run"), "--config", str(file), "--set", "encoder=test_resnet"]
    learn += ["--preset", "simclr_pathology"]  # whose views stain in another way
    short = ["--steps", "1", "--workers", "0", "--set", "training.batch_size=8"]
    assert run(["pretrain", str(store), *learn, *short]) == 0
    resolved = load_yaml(tmp_path / "run" / "config.yaml")["views"]["domain"]
    assert resolved == load_yaml(file)["views"]["domain"]
    spec = build(PathologyViews, resolved, "config.yaml").stain
    assert isinstance(spec, StatisticsSpec)
    assert spec.space == space
    again = ["--out", str(tmp_path / "again"), "--config", str(tmp_path / "run" / "config.yaml")]
    assert run(["pretrain", str(store), *again]) == 0


def test_the_command_refuses_a_folder_as_its_file(store, tmp_path, capsys):
    assert run(["stain", str(store), "--out", str(tmp_path)]) == 2
    assert "a folder, where a file is needed" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_draws_do_not_depend_on_the_number_of_workers(store, workers):
    domain = {"stain": spec_of("lab").model_dump(mode="json")}
    plan = make_views(ViewsSpec(domain=domain), 32)
    rows = np.arange(20, dtype=np.int64)

    def batches(count: int):
        dataset = ViewDataset(ImageReader(Store(store)), rows, {"global": Family(plan, 2)}, seed=4)
        return list(view_loader(dataset, StepOrder(Positions("uniform", 20, 4), 5, 0, 3), count))

    for ours, theirs in zip(batches(0), batches(workers), strict=True):
        one, other = ours.families["global"], theirs.families["global"]
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.drawn, other.drawn)


def test_the_stain_changes_no_other_draw():
    warp = {"distortion": {"p": 0.5, "steps": 4}, "shuffle": {"p": 0.5}}
    others = {"warp": warp, "grey": 0.5, "blur": {"p": 0.5}}
    plans = [
        make_views(ViewsSpec(domain={"stain": stain}, **others), 32)
        for stain in ({"p": 0}, "hed-light", spec_of("hed").model_dump(mode="json"))
    ]
    drawn = [plan.draw(1, 2, 3, 0) for plan in plans]
    for rows, numbers in drawn[1:]:
        assert len(rows) == 3
        assert all((row == other).all() for row, other in zip(rows, drawn[0][0], strict=True))
        assert (numbers[7:] == drawn[0][1]).all()
