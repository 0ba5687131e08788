"""Files have the mode of any new file, and one that may not be read is said to be that."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from histoscope.core.data.shard import Shard
from histoscope.core.errors import DataError
from histoscope.core.files import read_json, read_table, write_bytes, write_table
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.finetune import finetune
from histoscope.core.tensors import load_tensors, save_tensors

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no modes")
READERS = {
    "a.json": lambda file: read_json(file, "x", 1),
    "a.parquet": lambda file: read_table(file, "x", 1),
    "a.safetensors": load_tensors,
    "a.arrow": Shard,
}


@pytest.fixture
def mask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def modes(folder):
    return {file.name: oct(file.stat().st_mode & 0o777) for file in sorted(folder.rglob("*.*"))}


def test_whoever_writes_gives_the_mode_of_a_new_file(mask, tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    write_table(tmp_path / "a.parquet", "x", 1, pa.table({"a": np.arange(2)}))
    write_bytes(tmp_path / "a.json", b"{}")
    assert set(modes(tmp_path).values()) == {"0o640"}
    os.umask(0o002)
    save_tensors(tmp_path / "a.safetensors", {"a": torch.ones(2)})
    assert modes(tmp_path)["a.safetensors"] == "0o664"


def test_a_group_reads_a_whole_package(mask, toy_store, tmp_path):
    spec = ProbeSpec(fraction=0.5, draws=1)
    finetune(toy_store, "random:test_resnet", spec, tmp_path / "p", progress=Silent())
    assert set(modes(tmp_path / "p").values()) == {"0o640"}


@pytest.fixture
def forbidden():
    """A folder of files that nobody may read; root, whom nothing is forbidden, is another user."""
    with tempfile.TemporaryDirectory() as place:
        folder, root = Path(place), os.geteuid() == 0
        folder.chmod(0o755)
        for name in READERS:
            (folder / name).touch()
            (folder / name).chmod(0)
        if root:
            os.seteuid(65534)
        yield folder
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("name", READERS)
def test_what_may_not_be_read_is_said_to_be_that(name, forbidden):
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        READERS[name](forbidden / name)


@pytest.mark.parametrize("name", READERS)
def test_what_is_not_there_is_said_to_be_that(name, tmp_path):
    with pytest.raises(DataError, match=r"no such file|missing"):
        READERS[name](tmp_path / name)
