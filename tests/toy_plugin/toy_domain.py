"""A domain from outside the package: .npy stacks of images, (count, side, side, 3) uint8.

The first pixel's red value is the class; 255 there makes the sample corrupt; a file that begins
with ``crash`` kills its process, with ``bad`` cannot be opened, with ``hang`` never gives its
second sample and hears no signal, with ``slow`` takes its time, and what is
called ``late-crash`` kills its process in the middle.
"""

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import ClassVar

import click
import numpy as np
import pyarrow as pa

from histoscope.core.config import Spec
from histoscope.core.contracts import (
    Artefact,
    CloseUp,
    CorruptSample,
    LocationField,
    Neighbour,
    Plan,
    PlanLabels,
    Rendering,
    Sample,
    Sampling,
    Source,
    locate,
)
from histoscope.core.data.relations import near_pairs
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.files import fingerprint, write_text
from histoscope.core.tables.names import Naming

CLASSES = ("blue", "green")


class ToySampling(Sampling):
    size_px: int = 16
    pitch: float = 1.0

    def scale(self):
        return {"pitch": self.pitch}


class ToyOptions(Spec):
    with_cases: bool = False
    with_signs: bool = False


class ToyRelations(Spec):
    rows: float = 1


class ToyReader:
    divisible = True

    def __init__(self, path, options, split):
        self.name = path.name
        if self.name.startswith("hang"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        self.images = np.load(path)
        self.facts = {"count": len(self.images)}
        self.several = options.with_signs
        self.case = path.stem.split("-")[0] if options.with_cases else None

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        pass

    def plan(self):
        count = len(self.images)
        rows = pa.table({"place": pa.array(range(count), pa.int64())})
        if self.case:
            rows = rows.append_column("case", pa.array([self.case] * count))
        names = [CLASSES[int(image[0, 0, 0]) % 2] for image in self.images]
        warm = pa.array([None if place % 5 == 4 else bool(place % 3) for place in range(count)])
        signs = pa.table({"warm": warm, "bright": pa.array([None] * count, pa.bool_())})
        labels = {"hue": PlanLabels(pa.array(names, pa.string()))}
        if self.several:
            labels["signs"] = PlanLabels(signs)
        return Plan(rows, labels, "" if count else "no images in it")

    def read(self, rows):
        for place in rows.column("place").to_pylist():
            image = self.images[place]
            self._misbehave(place)
            if image[0, 0, 0] == 255:
                yield CorruptSample("marked as corrupt")
            else:
                yield Sample(image, {"mean": float(image.mean())})

    def _misbehave(self, place):
        if self.name.startswith("slow"):
            time.sleep(1)
        if "late-crash" in self.name and place == 40:
            os._exit(66)
        if self.name.startswith("hang") and place == 1:
            if "TOY_HANGS" in os.environ:
                write_text(Path(os.environ["TOY_HANGS"]), str(os.getpid()))
            empty, _ = os.pipe()
            ctypes.PyDLL(None).read(empty, ctypes.create_string_buffer(1), 1)  # the lock is held

    def marks(self, rows):
        return [
            "dull" if mean is not None and mean < 100 else None for mean in rows["mean"].to_pylist()
        ]


class ToyExport:
    def write(self, reader, features, out):
        pass


class ToyDomain:
    name = "toy"
    location = (LocationField("place", "int64", False, "position in the file"),)
    sampling = ToySampling
    options: ClassVar = {
        **dict.fromkeys(("prepare", "predict", "embed"), ToyOptions),
        "relations": ToyRelations,
    }
    checks: ClassVar = {"stacks": "toy_domain:known_stacks", "press": "no_press:version"}
    naming = Naming((".npy",))
    splits: ClassVar = {"by-name": {"a0": "train", "a1": "valid", "a2": "test"}}

    def find(self, roots, options):
        for root, base in roots.items():
            files = [base] if base.is_file() else sorted(base.glob("**/*.npy"))
            folder = base.parent if base.is_file() else base
            for file in files:
                part = next((p for p in ("train", "valid", "test") if p in file.stem), None)
                path = file.relative_to(folder).as_posix()
                yield Source(
                    fingerprint(file), path, root, "npy", split=part, independent=True, told=options
                )
        if not roots:
            raise DataError("nothing")

    def open(self, source, roots, sampling):
        path = locate(source, roots)
        if path.name.startswith("bad"):
            raise UnreadableSource("it is bad")
        if path.name.startswith("crash"):
            os._exit(66)
        return ToyReader(path, source.told, source.split)

    def views(self, spec, size_px):
        from histoscope.core.views.plan import plain_plan

        return plain_plan(spec, size_px)

    def render(self, reader, results, options, out):
        write_text(out / "note.txt", f"{len(results.rows)} samples\n")
        return Rendering(
            [Artefact("note.txt", "data", "A note")], {"samples": str(len(results.rows))}
        )

    def export(self, options, encoder, sampling):
        return ToyExport()

    def point_out(self, source, facts, rows, options, out):
        write_text(out / "places.txt", "\n".join(rows["name"].to_pylist()) + "\n")
        return [Artefact("places.txt", "data", "Places")]

    def around(self, rows, place):
        return [Neighbour(place - 1, -1, 0)] if place else []

    def close_ups(self, reader, rows, places):
        some = rows.take(places)
        found = zip(reader.read(some), some["place"].to_pylist(), strict=True)
        return [self._shown(one, place) for one, place in found]

    def _shown(self, sample, place):
        if isinstance(sample, CorruptSample):
            return sample
        return CloseUp(
            np.pad(sample.image, ((4, 4), (4, 4), (0, 0))), (4, 4, 16, 16), f"no. {place}"
        )

    def files(self, source, roots):
        return [locate(source, roots)]

    def relations(self, index, spec):
        ids, sources = (index.column(name).to_pylist() for name in ("id", "source"))
        places = np.array([[float(name.rpartition(":")[2])] for name in ids])
        return near_pairs(sources, places, {"partner": spec.rows})

    def order(self, index):
        return index["place"].to_numpy().astype(float)

    def breaks(self, rows):
        places = rows["place"].to_numpy()
        return np.diff(places, prepend=places[0]) > 2

    def phantom(self, out, seed):
        raise DataError("the toy domain has no phantom")


DOMAIN = ToyDomain()


def known_stacks():
    return "NPY"


@click.command("toy")
def greet():
    """Greet."""
    click.echo("toy")


def write_stack(path, count, seed, corrupt=0, side=16):
    """Images whose class shows in the mean colour, with noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 120, (count, side, side, 3), dtype=np.uint8)
    for place, image in enumerate(images):
        image[..., 2 if place % 2 == 0 else 1] += 80
        image[0, 0, 0] = 255 if place < corrupt else place % 2
    np.save(path, images)
