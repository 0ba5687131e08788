"""Of an encoder that gives layers, those that some heads read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.layers import only, places_of
from histoscope.core.heads.contract import Head
from histoscope.core.heads.layer import LayerHead


def lighter(loaded: LoadedEncoder, heads: Sequence[Head]) -> tuple[LoadedEncoder, list[Head]]:
    """An encoder whose rows hold no more than heads read, and these heads on such rows.

    Args:
        loaded: the encoder; where it gives one layer alone it stays as it is.
        heads: of its rows.
    """
    places = places_of(loaded.info.network)
    ends = {(one.start, one.stop) for one in heads if isinstance(one, LayerHead)}
    read = {name: place for name, place in places.items() if (place.start, place.stop) in ends}
    if not all(isinstance(one, LayerHead) for one in heads) or len(read) < len(ends):
        return loaded, list(heads)
    fewer = only(loaded, list(read))
    there = places_of(fewer.info.network)
    now = {place.start: there[name] for name, place in read.items()}
    return fewer, [
        replace(one, start=now[one.start].start, stop=now[one.start].stop)
        for one in heads
        if isinstance(one, LayerHead)
    ]
