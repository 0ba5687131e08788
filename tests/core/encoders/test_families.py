"""One network of each family of timm encodes a tile, or is refused in one line."""

import pytest
import timm

from tests.timm_families import listed, outcome

LISTED = listed()


def test_every_family_is_listed():
    with_networks = [family for family in timm.list_modules() if timm.list_models(module=family)]
    assert sorted(LISTED) == sorted(with_networks)
    assert all(name in timm.list_models(module=family) for family, (name, _) in LISTED.items())


@pytest.mark.slow
@pytest.mark.parametrize("family", LISTED)
def test_it_does_what_the_page_says(family):
    name, said = LISTED[family]
    assert outcome(name) == said


def test_most_are_taken():
    refused = [family for family, (_, (said, _)) in LISTED.items() if said.startswith("refused")]
    assert len(refused) < len(LISTED) / 10
