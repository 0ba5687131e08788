"""Published splits of Cholec80, by name: case to part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from histoscope.core.contracts import Split

# EndoViT's few-video subsets of the training videos (phases, three runs each); its validation and
# test videos are those of 40/8/32
_FEW = {
    2: ((25, 1), (33, 11), (22, 40)),
    4: ((8, 28, 13, 4), (5, 17, 25, 31), (24, 28, 38, 15)),
    8: (
        (1, 22, 12, 8, 6, 33, 31, 29),
        (20, 38, 25, 7, 29, 4, 2, 24),
        (18, 28, 17, 2, 40, 36, 7, 34),
    ),
}


def _parts(**videos: Iterable[int]) -> dict[str, Split]:
    return {f"video{number:02d}": part for part, chosen in videos.items() for number in chosen}  # type: ignore[misc]


def published_splits() -> Mapping[str, Mapping[str, Split]]:
    """``cholec80-40-40``, ``-32-8-40``, ``-40-8-32`` and ``endovit-2-0`` to ``endovit-8-2``."""
    splits = {
        "cholec80-40-40": _parts(train=range(1, 41), test=range(41, 81)),
        "cholec80-32-8-40": _parts(train=range(1, 33), valid=range(33, 41), test=range(41, 81)),
        "cholec80-40-8-32": _parts(train=range(1, 41), valid=range(41, 49), test=range(49, 81)),
    }
    for count, runs in _FEW.items():
        for run, videos in enumerate(runs):
            splits[f"endovit-{count}-{run}"] = _parts(
                train=videos, valid=range(41, 49), test=range(49, 81)
            )
    return splits
