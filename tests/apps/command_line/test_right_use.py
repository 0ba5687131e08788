"""Help, versions, dry runs, and what goes to which stream."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from histoscope.apps.cli import COMMANDS, main
from histoscope.core.config import load_yaml
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.training.spec import PretrainSpec, TrainingSpec
from tests.apps.command_line.road import (
    HERE,
    commands_with_out,
    snapshot,
)

# Right use


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_names_every_option_with_its_meaning(call, name):
    answer = call(*filter(None, [name]), "--help")
    assert (answer.code, answer.err) == (0, "")
    with main.make_context("histoscope", [name or "doctor"]) as context:
        command = main.get_command(context, name) if name else main
    assert command is not None
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    assert options
    for option in options:
        assert option.opts[-1] in answer.out
        assert re.sub(r"\[default: .*\]", "", option.help or "").strip(), option.opts
    for argument in command.get_params(context):
        if isinstance(argument, click.Argument):
            assert argument.name.upper() in (command.help or "")


@pytest.mark.parametrize(
    ("name", "spec", "fields", "key"),
    [
        ("finetune", FinetuneSpec, "method fraction cases_per_class draws draw_by seed", ""),
        ("pretrain", PretrainSpec, "init", ""),
        ("pretrain", TrainingSpec, "steps seed workers checkpoint_every device", "training."),
    ],
)
def test_help_says_of_a_setting_what_its_model_says(call, name, spec, fields, key):
    told = " ".join(call(name, "--help").out.split())
    told = re.sub(r"(?<=\w)- (?=\w)", "-", told)  # click parts lines at hyphens, too
    for field in fields.split():
        model = spec.model_fields[field]
        line = f"{model.description} ({key}{field})" if key else model.description
        shown = "" if model.default is None else f" [default: {model.default}]"
        assert re.search(rf"--{field.replace('_', '-')} \S+ {re.escape(line + shown)}", told)


HELP = """
import json, sys
from histoscope.apps.cli import COMMANDS, run
heavy = set("torch torchvision timm openslide tifffile pyarrow sklearn cv2 matplotlib".split())
heavy.add("albumentations")
found = {}
for name in ("", *COMMANDS):
    assert run([name, "--help"] if name else ["--help"]) == 0
    more = () if name else ("pydantic", "yaml", "numpy", "histoscope.domains")
    found[name] = sorted(heavy.union(more) & set(sys.modules))
print(json.dumps(found), file=sys.stderr)
"""


def test_help_loads_neither_torch_nor_a_reader_and_without_a_command_no_settings():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == {"": [], **{name: [] for name in COMMANDS}}


def test_commands_of_plug_ins_stand_in_the_help_and_run(call, plugin):
    answer = call("--help")
    assert answer.code == 0
    assert re.search(r"\n  toy +a command of toy_domain\n", answer.out)
    assert re.search(r"\n  stain +a command of pathology\n", answer.out)
    assert re.search(r"\n  score +group: broken, phases, tools\n", answer.out)
    assert call("toy").out == "toy\n"
    assert call("score", "phases", "--help").code == 0


def test_the_help_of_a_group_says_what_its_commands_do(call, plugin):
    told = " ".join(call("score", "--help").out.split())
    assert "tools Score predicted tools by average precision" in told
    assert "broken command 'score.broken' of toy-domain does not load" in told


def test_the_module_runs_as_a_program():
    words = [sys.executable, "-m", "histoscope", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"histoscope, version \d+\.\d+\.\d+\n", done.stdout)
    assert done.stderr == ""


def test_results_go_to_stdout_and_talk_to_stderr(road, call, tmp_path):
    words = commands_with_out(road)
    answer = call(*words["evaluate"], "--out", tmp_path / "evaluated")
    assert answer.code == 0
    assert "balanced accuracy" in answer.out
    assert answer.out.endswith(f"report: {tmp_path / 'evaluated' / 'report.html'}\n")
    assert "evaluate tissue reads the test split: 10 samples" in answer.err
    assert "balanced accuracy" not in answer.err
    answer = call(*words["predict"], "--out", tmp_path / "predicted")
    assert answer.out.startswith("16 samples of 1 sources predicted")
    assert answer.err == "the network runs on cpu in float32\npredict: 1 sources\n"


def test_a_step_of_the_stacke_recipe_on_a_small_network(road, call, tmp_path):
    sets = ("encoder=test_resnet", "training.batch_size=8", "views.warp.distortion.steps=8")
    sets += ("training.accumulate=1",)
    few = [word for one in sets for word in ("--set", one)]
    out = ("--steps", 1, "--workers", 0, "--out", tmp_path / "run")
    answer = call("pretrain", road.store, "--preset", "stacke", *few, *out)
    assert answer.code == 0, answer
    views = load_yaml(tmp_path / "run" / "config.yaml")["views"]
    assert (views["warp"]["distortion"]["p"], views["warp"]["shuffle"]["p"]) == (0.5, 0.5)
    assert views["domain"] == {"stain": {"p": 0}}


@pytest.mark.parametrize(
    ("preset", "sets"),
    [
        ("selfsupsurg", ("init=null", "objective.momentum={rows: 8, groups: 1}")),
        ("selfsupsurg", ("init=null", "objective={base: simclr, temperature: 0.1}")),
        ("selfsupsurg_small", ()),
    ],
)
def test_a_step_of_the_recipes_of_surgery_on_a_small_network(road, call, tmp_path, preset, sets):
    sets = ("encoder=test_resnet", "training.batch_size=8", *sets)
    few = [word for one in sets for word in ("--set", one)]
    out = ("--steps", 1, "--workers", 0, "--out", tmp_path / "run")
    answer = call("pretrain", road.store, "--preset", preset, *few, *out)
    assert answer.code == 0, answer
    views = load_yaml(tmp_path / "run" / "config.yaml")["views"]
    assert views["geometry"]["quarter_turns"] is False
    assert (views["jitter"]["hue"], views["grey"], views["blur"]["p"]) == (0, 0, 0)
    whole = views["geometry"]["scale"], views["randaugment"]["magnitude"], views["erasing"]["p"]
    assert whole == ([0.5, 1.0], 24, 0.8)


def test_a_dry_run_writes_nothing(road, call, tmp_path):
    out = tmp_path / "out"
    words = commands_with_out(road)
    before = {folder: snapshot(folder) for folder in (road.store, road.package)}
    plans = {
        "prepare": ["set-folders", f"1 sources; would write {out}"],
        "pretrain": ["name: test_resnet", "16 samples; 1.0 epochs", f"would write {out}"],
        "predict": ["one.tif", f"1 sources; would write {out}"],
    }
    for command, says in plans.items():
        answer = call(*words[command], "--out", out, "--dry-run")
        assert (answer.code, answer.err) == (0, "")
        assert all(word in answer.out for word in says)
        assert not out.exists()
    assert {folder: snapshot(folder) for folder in before} == before


def test_a_source_that_fails_gives_exit_code_1_and_a_row(road, call, tmp_path):
    slides = Path(shutil.copytree(road.slides, tmp_path / "slides"))
    (slides / "broken.svs").write_bytes(b"no slide")
    words = ("predict", slides, "--package", road.package, *HERE, "--out", tmp_path / "out")
    answer = call(*words)
    assert answer.code == 1
    assert "1 failed" in answer.out
    assert "broken.svs: failed: " in answer.err
    assert "broken.svs" in (tmp_path / "out" / "manifest.csv").read_text()
