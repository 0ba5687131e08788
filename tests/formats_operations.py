"""Files of operations, written by the commands themselves, for the page that describes them."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
from av.stream import Disposition

from tests.domains.surgery.clips import NO_ROLE, Track, numbered, write_tracks
from tests.formats_files import command, write_runs
from tests.formats_sources import write_in_order

OF_OPERATIONS = {  # of more images than the slides' tiles, of such as lie near each other, ...
    "choices": (
        "temperature=macl",
        "negatives=fnc",
        "positives=near",
        "mixing=unmix",
        "order=plackett_luce",
    ),
    "overlays": (
        "views.domain.specular={p: 1, most: 2, radius: [0.01, 0.1], longest: 2, strength: [1, 1]}",
        "views.domain.smoke={p: 1, strength: [0.1, 0.5], grey: [0.8, 0.9], contrast: [1, 2]}",
    ),
    "msf": ("base=msf", "neighbours.rows=8"),
    "cmsf": ("base=cmsf", "neighbours.rows=8"),
    "cmsf-of-before": ("base=cmsf", "neighbours.rows=8", "constraint=second_bank"),
    "revisiting": (
        *("base=moco_v2", "momentum.rows=8", "momentum.groups=1"),
        *("local=1", "positives=revisiting"),
    ),
    "other-choices": (
        *("base=moco_v2", "momentum.rows=8", "momentum.groups=1"),
        *("positives=other_case", "consistency=co2", "synthetic={kind: mochi, hardest: 4}"),
    ),
}


def write_operations(given: Path, out: Path) -> None:
    """Each command on a phantom of four short operations."""
    from histoscope.domains.surgery.phantom import write_phantom

    phantom = out / "demo-of-operations" / "phantom"
    write_phantom(phantom, train=2, valid=0, test=1, new=1, seconds=60, spread_s=0)
    cut = ("prepare", "--domain", "surgery", "--size-px", 32, "--workers", 0)
    store, package = out / "store-of-operations", out / "package-of-operations"
    command(0, *cut, phantom / "labelled", "--out", store)
    sets = ["encoder=test_resnet", "objective.base=moco_v2", "training.optimiser.kind=sgd"]
    sets += ["objective.momentum.rows=8", "objective.momentum.groups=1", "training.batch_size=8"]
    run = ("--steps", 1, "--workers", 0, "--out", out / "run-of-operations")
    command(0, "pretrain", store, *run, *(word for one in sets for word in ("--set", one)))
    small = ("--set", "encoder=test_resnet", "--set", "training.batch_size=8", "--workers", 0)
    write_runs(("pretrain", store, "--steps", 1, *small), OF_OPERATIONS, out)
    learn = ("--encoder", "colour", "--task", "phase", "--task", "tools", "--cases-per-class", 1)
    command(0, "finetune", store, *learn, "--draws", 1, "--out", package)
    half = ("--task", "tools", "--fraction", 0.5, "--draws", 1)
    of_chance = out / "package-of-chance"  # where scores of Hook tell nothing
    command(0, "finetune", store, *learn[:2], *half, "--out", of_chance)
    write_in_order(command, given, store, out)
    scored = ("--out", out / "evaluation-of-operations", "--record")
    command(0, "evaluate", package, store, *scored)
    by = ("--package", package, "--workers", 0)
    results = out / "predictions-of-operations"
    forms = ("--write", "cholec80", "--suspicious", "Hook", "--least-segment-s", 5)
    command(0, "predict", phantom / "new", *forms, "--out", results, *by)
    told = ("--results", results, "--workers", 0, "--out", out / "reviews")
    command(0, "review", phantom / "new", *told)
    command(0, "embed", phantom / "new", "--out", out / "features-of-operations", *by)
    by = ("--package", package, "--task", "tools", "--count", 3)
    suggested = out / "suggestions-of-operations"
    labels = store / "labels" / "tools.parquet"
    known = labels.read_bytes()
    labels.unlink()  # all are labelled: as if none were
    command(0, "suggest", store, *by, "--out", suggested)
    labels.write_bytes(known)
    write_scores(phantom / "new-truth", results / "results", out)
    video = phantom / "new" / "videos" / "video04.mp4"
    write_lists(given, phantom / "new-truth", video)
    lists = ("--labels", given / "spans.csv", "--tools-csv", given / "tools.csv")
    more = (
        "--cases",
        given / "cases.csv",
        "--missing-cases",
        "source",
        "--frame-base",
        1,
        "--frame-step",
        25,
        "--crop",
        "circle",
        "--label-rate",
        5,
    )
    two = [Track(list(numbered(30)), default) for default in (NO_ROLE, Disposition.default)]
    tracks = write_tracks(given.parent / "two-tracks.mkv", two)
    command(
        0, *cut, video, tracks, given / "frames", *lists, *more, "--out", out / "store-of-frames"
    )


def write_scores(truth: Path, predicted: Path, out: Path) -> None:
    """Scores of one run, of two, and of tools."""
    for name, runs in (("scores", 1), ("scores-of-two", 2)):
        told = ("--source-fps", 5, "--json", out / name / "phase-scores.json")
        folders = ("--predicted", predicted) * runs
        command(0, "score", "phases", "--truth", truth / "phase_annotations", *folders, *told)
    told = ("--predicted", predicted, "--json", out / "scores" / "tool-scores.json")
    command(0, "score", "tools", "--truth", truth / "tool_annotations", *told)


def write_lists(given: Path, truth: Path, video: Path) -> None:
    """Frames of a video, and what is known of it, in the forms that a user may have."""
    capture = cv2.VideoCapture(str(video))
    (given / "frames" / "op-1").mkdir(parents=True)
    for number in range(1, 4):
        good, frame = capture.read()
        assert good
        assert cv2.imwrite(str(given / "frames" / "op-1" / f"frame_{number:06d}.jpg"), frame)
    capture.release()
    for kind in ("phase", "tool"):
        shutil.copy(truth / f"{kind}_annotations" / f"video04-{kind}.txt", given)
    spans = ("video04,0:00:00,0:00:30.5,Preparation", "video04,30.5,50,ClippingCutting")
    (given / "spans.csv").write_text("\n".join(["case,start,end,phase", *spans]) + "\n")
    (given / "tools.csv").write_text("case,second,Grasper,Hook\ncase-1,0,1,0\ncase-1,1,,1\n")
    (given / "cases.csv").write_text("video,case\nvideo04,\nop-1,case-1\n")
