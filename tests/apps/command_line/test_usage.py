"""Wrong use is one line and exit code 2, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.apps.command_line.road import (
    HERE,
    SET,
    TILE,
)

# Configuration


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("encodr: resnet18", ["encodr: unknown key", "did you mean 'encoder'?"]),
        ("training: {stepz: 3}", ["training.stepz: unknown key", "did you mean 'steps'?"]),
        ("views: {domain: {stian: 1}}", ["stian: unknown key", "did you mean 'stain'?"]),
        ("training: {steps: many}", ["training.steps: input should be a valid integer", "'many'"]),
        ("training: {steps: yes}", ["training.steps: input should be a number", "True"]),
        ("training:", ["training: input should be a valid dictionary"]),
        ("training: {steps: 0}", ["training.steps", "greater than or equal to 1 (given 0)"]),
        ("objective: {temperature: 5}", ["temperature.value", "less than or equal to 2"]),
        ("training:\n  steps: 3\n  steps: 4", ["wrong.yaml:2: steps stands twice"]),
        ("a: [1", ["not YAML"]),
        ("- a", ["expected keys and values"]),
        ("a: !!python/name:os.system", ["not YAML", "python/name"]),
    ],
    ids=[
        "unknown key",
        "unknown inner key",
        "unknown key of the domain",
        "wrong type",
        "truth value for a number",
        "empty section",
        "out of range",
        "out of range in the short form",
        "key twice",
        "broken",
        "list",
        "python object",
    ],
)
def test_a_wrong_configuration_file_is_refused(road, refused, tmp_path, text, says):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    where = () if "domain" in text else (file,)  # the domain's part is read beside the store
    refused("pretrain", road.store, "--config", file, says=(*where, *says))


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("objective.temprature=1", ["did you mean 'temperature'?"]),
        ("training.steps=many", ["training.steps", "valid integer", "'many'"]),
        ("training.steps=true", ["training.steps", "should be a number"]),
        ("training.steps=0", ["training.steps", "greater than or equal to 1"]),
        ("training.optimiser.learning_rate=.nan", ["learning_rate", "greater than 0"]),
        ("objective={base: simclr, base: simclr}", ["objective={base", "base stands twice"]),
        ("training.steps", ["training.steps: expected KEY=VALUE", "for example"]),
        ("=3", ["expected KEY=VALUE"]),
        ("training.steps=[1", ["training.steps=[1: the value is not YAML"]),
        ("encoder.depth=1", ["encoder.depth: unknown key"]),
    ],
)
def test_a_wrong_set_is_refused(road, refused, word, says):
    refused("pretrain", road.store, "--set", word, says=("--set", *says))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--preset", "simclrr"],
            [
                "--preset simclrr",
                "did you mean 'simclr'?",
                "known: background_pathology, background_surgery, ibot, moco_v2, selfsupsurg, "
                "selfsupsurg_small, simclr, simclr_pathology, stacke",
            ],
        ),
        (
            ["--preset", "../recipe/simclr"],
            ["unknown", "known: background_pathology, background_surgery, ibot, moco_v2, self"],
        ),
        (
            ["--preset", "stacke", "--set", "training.batch_size=8"],
            ["9 cells do not fill a view of 32 px", "--set views.warp.distortion.steps=8"],
        ),
        (["--config", "absent.yaml"], ["absent.yaml: no such file"]),
        (["--config", "."], [".: cannot be read", "directory"]),
        (["--steps", "0"], ["command line: training.steps", "greater than or equal to 1"]),
        (["--steps", "x"], ["--steps", "'x' is not a valid integer", "pretrain --help"]),
        (["--device", "mps"], ["--device mps: unknown", "give auto, cpu, cuda or cuda:N"]),
        (["--set", "training.batch_size=100"], ["16 samples are fewer", "100", "smaller batch"]),
        (["--split", "x"], ["--split x: expected FILE:PART"]),
        (["--split", ".:train"], [".: no such file"]),
    ],
    ids=" ".join,
)
def test_a_wrong_setting_of_pretraining_is_refused(road, refused, words, says):
    refused("pretrain", road.store, "--config", road.settings, *words, says=says)


def test_a_dry_run_refuses_what_the_run_would(road, refused):
    large = ("--config", road.settings, "--set", "training.batch_size=100", "--dry-run")
    refused("pretrain", road.store, *large, says=["fewer than one batch"])


def test_a_number_with_an_exponent_is_a_number(road, call, tmp_path):
    words = ("--config", road.settings, "--set", "training.optimiser.learning_rate=1e-4")
    answer = call("pretrain", road.store, *words, "--dry-run", "--out", tmp_path / "run")
    assert answer.code == 0
    assert "learning_rate: 0.0001" in answer.out


# Commands and flags


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pretran"], ["unknown command 'pretran'", "did you mean 'pretrain'?", "--help"]),
        (["xyz"], ["unknown command 'xyz'", "--help"]),
        ([], ["Missing command", "histoscope --help"]),
        (["score"], ["Missing command", "histoscope score --help"]),
        (["score", "phase"], ["unknown command 'phase'", "did you mean 'phases'?"]),
        (
            ["prepare", "--domain", "pathology", "x", "--outt", "y"],
            ["--outt", "'--out'", "histoscope prepare --help"],
        ),
        (
            ["prepare", "--domain", "pathology", "x"],
            ["Missing option '--out'", "histoscope prepare --help"],
        ),
        (["finetune", "x", "--out", "y"], ["give --encoder, or --features"]),
        (
            ["prepare", "--domain", "pathology", "--out", "y"],
            ["Missing argument 'INPUTS...'", "prepare --help"],
        ),
        (["prepare", "--domain", "pathology", "x", "--out"], ["'--out' requires an argument"]),
        (
            ["review", "x", "--domain", "pathology", "--classes", "a", "--out", "y"],
            ["review: sources of pathology have no time to label them by"],
        ),
        (["compare", "x", "y", "z"], ["several pairs: name the one", "--primary ONE:OTHER"]),
        (
            ["prepare", "--domain", "pathology", "x", "--out", "y", "--encoding", "jpg"],
            ["'jpg'", "'jpeg', 'lossless'"],
        ),
        (
            ["prepare", "--domain", "pathology", "x", "--out", "y", "--workers", "-1"],
            ["--workers", "-1"],
        ),
        (["demo", "--out", "y", "--steps", "0"], ["--steps", "0"]),
        (["demo", "--out", "y", "--draws", "1"], ["--draws", "x>=2"]),
    ],
    ids=lambda words: " ".join(words) or "nothing",
)
def test_a_wrong_command_line_is_refused(call, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    answer = call(*words)
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    assert line.startswith("histoscope: ")
    assert all(word in line for word in says), line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shard", ["3/2", "0/2", "x", "1", "1/0", "-1/2", "1/2/3", "²/3"])
def test_a_shard_that_is_none_is_refused(road, refused, shard):
    words = ("predict", road.slides, "--package", road.package, "--shard", shard)
    refused(*words, says=[f"--shard {shard}: expected I/N with 1 <= I <= N", "2/5"])


def test_embed_wants_one_of_package_and_encoder(road, refused):
    both = ("--package", road.package, "--encoder", road.run)
    for words in ((), both):
        refused("embed", road.slides, *words, says=["give either --package or --encoder"])


def test_a_flag_of_another_domain_is_refused(road, refused, plugin):
    wrong = ("prepare", "--domain", "pathology", road.tiles, "--domain", "toy", "--mpp", "0.5")
    refused(*wrong, says=["--mpp is not a flag of domain 'toy'"])
    wrong = ("prepare", "--domain", "pathology", road.tiles, *SET, "--pitch", "2")
    refused(*wrong, says=["--pitch is not a flag of domain 'pathology'"])
    wrong = ("predict", road.slides, "--package", road.package, "--with-cases")
    refused(*wrong, says=["--with-cases is not a flag of domain 'pathology'"])


def test_a_broken_plug_in_is_named_and_the_rest_works(road, call, refused, plugin, tmp_path):
    dry = ("--out", tmp_path / "store", "--dry-run")
    answer = call("prepare", "--domain", "pathology", road.tiles, *SET, *dry)
    assert (answer.code, answer.err) == (0, "")
    says = ["domain 'broken' of toy-domain does not load"]
    refused("prepare", road.tiles, "--domain", "broken", says=says)
    refused("prepare", road.tiles, "--domain", "tox", says=["did you mean 'toy'?", "pathology"])
    refused("broken", says=["command 'broken' of toy-domain does not load"])
    refused("score", "broken", says=["command 'score.broken' of toy-domain does not load"])
    found = json.loads(call("doctor", "--json").out)
    assert says[0] in found["problems"]
    assert found["domains"] == "pathology, surgery, toy"


@pytest.mark.parametrize(
    ("name", "called", "says"),
    [
        ("stain", ["stain"], "command 'stain' is claimed more than once (other, histoscope)"),
        ("report", ["report"], "command 'report' is claimed more than once (other)"),
        ("score", ["score", "phases"], "'score' is claimed as a command and as a group"),
    ],
)
def test_a_command_that_two_claim_is_refused(
    call, refused, monkeypatch, tmp_path, name, called, says
):
    folder = tmp_path / "other-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: other\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(f"[histoscope.commands]\n{name} = other:command\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert call("--help").code == 0
    refused(*called, says=[says])


def test_doctor_runs_the_checks_of_every_domain(call, plugin):
    answer = call("doctor", "--json")
    found = json.loads(answer.out)
    assert answer.code == 2
    assert "toy needs press (No module named 'no_press'): run" in found["problems"]
    assert found["readers"].pop("press") == "missing"
    assert found["readers"].pop("stacks") == "NPY"
    assert set(found["readers"]) == {"openslide", "tifffile", "av", "decord2"}
    assert all(version[0].isdigit() for version in found["readers"].values())


# Inputs


def test_an_empty_folder_is_refused(road, refused, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    says = (f"{empty}: no slide or picture found", "give a folder or file")
    refused("prepare", "--domain", "pathology", empty, says=says)
    refused("predict", empty, "--package", road.package, says=says)
    refused("embed", empty, "--package", road.package, says=says)
    refused(
        "prepare",
        "--domain",
        "pathology",
        empty,
        "--layout",
        "folders",
        *SET,
        says=[f"{empty}: no picture below it"],
    )
    text = tmp_path / "notes.txt"
    text.write_text("no slide")
    refused("prepare", "--domain", "pathology", text, says=[f"{text}: no slide or picture found"])


def test_a_missing_input_is_refused(road, refused, tmp_path):
    says = [f"{tmp_path / 'absent'}: no such file or folder"]
    refused("prepare", "--domain", "pathology", tmp_path / "absent", says=says)
    refused("predict", tmp_path / "absent", "--package", road.package, says=says)
    refused(
        "prepare",
        "--domain",
        "pathology",
        road.tiles,
        "--root",
        f"a={tmp_path / 'absent'}",
        says=says,
    )
    refused(
        "prepare",
        "--domain",
        "pathology",
        road.tiles,
        "--root",
        "a",
        says=["--root a: expected NAME=PATH"],
    )


def test_a_missing_table_is_refused_before_any_slide_is_opened(road, refused, tmp_path):
    for flag in ("--mpp-csv", "--cases"):
        words = ("predict", road.slides, "--package", road.package, *HERE, flag, tmp_path / "a.csv")
        refused(*words, says=[f"{tmp_path / 'a.csv'}: No such file"])


def test_a_folder_with_two_layouts_is_refused(road, refused, tmp_path):
    both = Path(shutil.copytree(road.tiles, tmp_path / "both"))
    shutil.copy(road.slides / "one.tif", both / "train" / "one.svs")
    refused(
        "prepare",
        "--domain",
        "pathology",
        both,
        *SET,
        says=(both, "two layouts, folders and slides", "--layout"),
    )


def test_labelled_tiles_without_a_scale_are_refused(road, refused):
    refused(
        "prepare",
        "--domain",
        "pathology",
        road.tiles,
        *TILE,
        says=(road.tiles, "no scale", "give --mpp"),
    )
    says = ["--mpp is for labelled sets", "--default-mpp or --mpp-csv"]
    refused("prepare", "--domain", "pathology", road.slides, "--mpp", "0.5", says=says)


def test_tiles_too_small_are_refused_and_the_mended_command_may_use_the_same_folder(
    road, call, tmp_path
):
    words = (
        "prepare",
        "--domain",
        "pathology",
        road.tiles,
        "--mpp",
        "0.5",
        *HERE,
        "--out",
        tmp_path / "store",
    )
    answer = call(*words)
    assert answer.code == 2
    last = answer.err.splitlines()[-1]
    assert last.startswith(f"histoscope: {road.tiles}: tiles of 32 x 32 px at 0.5 um/px show 16.0")
    assert "give a smaller --size-px" in last
    assert call(*words, *TILE).code == 0
    answer = call(*words, "--size-px", "16")
    assert answer.code == 2
    assert "was made with other settings (sampling.size_px: 32 there, 16 now)" in answer.err
