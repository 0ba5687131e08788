"""Who may import whom, that the core stands alone, and that what ships is what is said."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from histoscope.apps.configuration import load_preset, presets_folder
from histoscope.core.config import build
from histoscope.core.training.spec import PretrainSpec

HOUSE = Path(__file__).resolve().parents[1]
PARTS = ("core", "domains", "apps")
LINT = Path(sys.executable).with_name("lint-imports")
WALK = """
import importlib, pkgutil
import histoscope.core as core
names = [m.name for m in pkgutil.walk_packages(core.__path__, "histoscope.core.")]
for name in names:
    importlib.import_module(name)
assert importlib.util.find_spec("histoscope.domains") is None
assert importlib.util.find_spec("histoscope.apps") is None
print(len(names))
"""


def alone(code: str) -> subprocess.CompletedProcess[str]:
    """Run code with ``core/`` and the libraries on the path; ``-S`` leaves the other parts out."""
    path = [str(HOUSE / "core"), sysconfig.get_path("purelib")]
    start = f"import sys; sys.path[:0] = {path!r}\n"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONPATH"))}
    return subprocess.run(
        [sys.executable, "-S", "-c", start + code],
        cwd=HOUSE,
        env=clean,
        capture_output=True,
        text=True,
    )


def test_every_core_module_imports_with_only_core_on_the_path():
    done = alone(WALK)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


@pytest.mark.slow  # all of tests/core once more
def test_the_core_passes_its_own_tests_with_only_core_on_the_path():
    options = "-q -p no:cacheprovider -p no:xdist --rootdir . tests/core"
    done = alone(f"import pytest; sys.exit(pytest.main({options.split()!r}))")
    assert done.returncode == 0, done.stdout[-3000:]


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(house / part) for part in PARTS)
    return subprocess.run(
        [LINT, "--no-cache", "--config", house / "pyproject.toml"],
        cwd=house,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def test_the_import_contracts_hold():
    done = lint(HOUSE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/{}/core/errors.py", "{}.domains.pathology", "core knows neither"),
        ("core/{}/core/files.py", "{}.apps.console", "core knows neither"),
        ("domains/{}/domains/pathology/options.py", "{}.apps.console", "core knows neither"),
        ("apps/{}/apps/console.py", "{}.domains.pathology", "apps reach domains"),
        ("apps/{}/apps/commands/doctor.py", "openslide", "apps and core are free"),
        ("core/{}/core/files.py", "av", "apps and core are free"),
        ("domains/{}/domains/pathology/scale.py", "{}.domains.surgery", "domains are independent"),
        ("core/{}/core/tables/spreadsheet.py", "{}.core.stages.prepare", "layers inside core"),
    ],
    ids=lambda text: text.replace("{}", ""),
)
def test_a_planted_import_against_the_contracts_is_found(
    tmp_path: Path, file: str, line: str, contract: str
):
    for part in PARTS:
        shutil.copytree(HOUSE / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    planted = tmp_path / file.format("histoscope")
    text = planted.read_text(encoding="utf-8") + f"\nimport {line.format('histoscope')}\n"
    planted.write_text(text, encoding="utf-8")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert re.search(f"^{contract}.* BROKEN$", done.stdout, re.MULTILINE)


def test_every_preset_is_a_valid_configuration_with_a_head_that_explains_it():
    found = sorted(presets_folder().glob("recipe/*.yaml"))
    assert found
    for file in found:
        build(PretrainSpec, load_preset("recipe", file.stem), str(file))
        assert file.read_text(encoding="utf-8").startswith("# ")


def test_the_picture_shows_the_layers_in_their_order():
    settings = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers"))
    picture = (HOUSE / "docs" / "architecture.svg").read_text(encoding="utf-8")
    core = picture[picture.index(">core<") :]
    names = [name for layer in layers for name in layer.split(" : ")]
    shown = re.findall(r">([a-z]+)</text>", core.replace(" · ", "</text><text>"))
    assert [name for name in shown if name in names] == names
