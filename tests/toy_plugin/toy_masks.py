"""Providers of masks from outside: subjects that their images say, and providers that misbehave.

``left`` says true left of the column that an image's mean grey gives; so every image has a mask of
its own that a test can make again.
"""

import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from histoscope.core.config import Spec
from histoscope.core.contracts.masks import Subjects
from histoscope.core.errors import DataError


class LeftSpec(Spec):
    shift: int = Field(0, ge=0, description="further columns")
    fault: str = Field("", description="what goes wrong in the source that has 12 images")


class MapSpec(Spec):
    encoder: str = Field("random:test_resnet", description="whose maps")
    size_px: int = 32
    late: bool = False


def left_of(image, shift=0):
    """Its first columns: as many as its mean grey modulo its side says."""
    side = image.shape[1]
    return np.tile(np.arange(side) < int(image.mean()) % side + shift, (image.shape[0], 1))


@dataclass(frozen=True)
class Left:
    settings: LeftSpec
    maps: Any  # kept, as a maker may

    def of_source(self, images):
        masks = [left_of(image, self.settings.shift) for image in images]
        fault = self.settings.fault if len(masks) == 12 else ""
        if fault == "raises":
            raise KeyError("two\nlines")
        if fault == "refuses":
            raise DataError("nothing to see")
        if fault == "exits":
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        fill = (300, 0, 0) if fault == "fill" else (10, 20, len(masks) % 256)
        return Subjects(self._given(masks, fault), fill)

    def _given(self, masks, fault):
        for place, mask in enumerate(masks):
            if fault == "late" and place == 5:
                raise FileNotFoundError(2, "No such file or directory", "weights")
            if fault == "few" and place == 5:
                return
            yield {
                "shape": mask[:-1],
                "kind": mask.astype(np.uint8),
                "list": mask.tolist(),
            }.get(fault, mask)
        if fault == "many":
            yield masks[0]


@dataclass(frozen=True)
class Bright:
    """Where the first channel of a map is above its mean."""

    settings: MapSpec
    maps: Any

    def of_source(self, images):
        maps = self.maps
        if self.settings.late:
            maps = maps(self.settings.encoder, self.settings.size_px)
        images = list(images)
        found = maps(images)
        assert found.shape[0] == len(images)
        assert found.dtype == np.float32
        masks = [self._mask(one[0], image) for one, image in zip(found, images, strict=True)]
        return Subjects(masks, (0, 0, 0))

    def _mask(self, grid, image):
        rows = np.arange(image.shape[0]) * grid.shape[0] // image.shape[0]
        columns = np.arange(image.shape[1]) * grid.shape[1] // image.shape[1]
        return (grid > grid.mean())[np.ix_(rows, columns)]


@dataclass(frozen=True)
class Provider:
    name: str
    maker: Any
    settings: type[Spec]
    version: str = "1"
    domains: tuple[str, ...] = ()
    about: str = "what a test wants"

    def make(self, settings, maps):
        if self.maker is Bright and not settings.late:
            maps = maps(settings.encoder, settings.size_px)
        return self.maker(settings, maps)


LEFT = Provider("left", Left, LeftSpec)
BRIGHT = Provider("bright", Bright, MapSpec, domains=("toy", "pathology"))
ELSEWHERE = Provider("elsewhere", Left, LeftSpec, domains=("sea", "land"))
