"""A domain from outside keeps its contract; planted faults are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from histoscope.core.contracts import Sample
from histoscope.core.testing.domains import check_domain


def check(toy, folder):
    return check_domain("toy", {"input": folder}, toy.ToyOptions(), toy.ToySampling())


def test_the_toy_keeps_its_contract(toy, toy_folder):
    assert check(toy, toy_folder) == 24 + 12 + 24


def test_a_source_that_is_found_only_sometimes_is_found(toy, toy_folder, monkeypatch):
    usual, calls = toy.ToyDomain.find, []

    def find(self, roots, options):
        calls.append(1)
        return [replace(one, case=str(len(calls))) for one in usual(self, roots, options)]

    monkeypatch.setattr(toy.ToyDomain, "find", find)
    with pytest.raises(AssertionError, match="find: other sources"):
        check(toy, toy_folder)


def test_a_reader_that_leaves_out_a_row_or_gives_floats_is_found(toy, toy_folder, monkeypatch):
    usual = toy.ToyReader.read
    monkeypatch.setattr(toy.ToyReader, "read", lambda self, rows: list(usual(self, rows))[1:])
    with pytest.raises(AssertionError, match="read: 23 answers to 24 rows"):
        check(toy, toy_folder)
    floats = [Sample(np.zeros((16, 16, 3), np.float32))]
    monkeypatch.setattr(toy.ToyReader, "read", lambda self, rows: floats * len(rows))
    with pytest.raises(AssertionError, match="float32, not uint8"):
        check(toy, toy_folder)


def test_a_reader_that_is_divisible_in_name_only_is_found(toy, toy_folder, monkeypatch):
    usual = toy.ToyReader.read

    def read(self, rows):
        shade = np.uint8(len(rows))
        return [Sample(sample.image // 2 + shade) for sample in usual(self, rows)]

    monkeypatch.setattr(toy.ToyReader, "read", read)
    with pytest.raises(AssertionError, match="divisible: other pixels"):
        check(toy, toy_folder)
