"""Masks of a store's images by a provider, kept as a plane; goes on where it was stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.config import Spec
from histoscope.core.contracts import Source
from histoscope.core.contracts.masks import MaskMaker, MaskProvider, Subjects
from histoscope.core.data.planes import (
    OF,
    plane_folder,
    shards_of,
    told_of,
    write_masks,
)
from histoscope.core.data.shard import Shard
from histoscope.core.data.store import Store
from histoscope.core.errors import (
    FULL,
    CannotWrite,
    DataError,
    HistoscopeError,
    UnreadableSource,
    refusal,
    writing,
)
from histoscope.core.files import digest_of_bytes, remove_left
from histoscope.core.progress import Progress
from histoscope.core.runtime.alone import alone
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.stages.maps import EncoderMaps, Encoders
from histoscope.core.stages.tally import Tally, tally_of
from histoscope.core.tables.names import listed
from histoscope.core.work.folder import OutFolder
from histoscope.core.work.job import Engine, Turn, as_reason
from histoscope.core.work.local import ONE_WORKER
from histoscope.core.work.outcome import Outcome

SETTINGS = "settings"  # key of a plane's schema
SUFFIX = 6  # hex digits of a digest in a plane's name
END: Any = object()


@dataclass(frozen=True)
class MadeMasks:
    """What became of the masks of a store.

    Attributes:
        name: of the plane.
        outcomes: of the sources whose masks were made now, failed ones included.
        tally: of all masks that the plane has.
        sources: that have it.
        made: masks made now.
        seconds: that this took.
        plane_bytes, shard_bytes: of the plane, and of the shards of its sources.
    """

    name: str
    outcomes: Sequence[Outcome]
    tally: Tally
    sources: int
    made: int
    seconds: float
    plane_bytes: int
    shard_bytes: int

    @property
    def failed(self) -> bool:
        """Whether some source has no masks for a fault."""
        return any(outcome.status == "failed" for outcome in self.outcomes)


@dataclass(frozen=True)
class Images(Sequence[NDArray[np.uint8]]):
    """Images of a shard, each read when it is asked for, which is a sign of life."""

    shard: Shard
    turn: Turn

    def __len__(self) -> int:
        return self.shard.rows

    def __getitem__(self, place: Any) -> Any:
        """That image, or a list of those of a slice."""
        if isinstance(place, slice):
            return [self[row] for row in range(*place.indices(len(self)))]
        row = range(len(self))[place]
        self.turn.beat()
        return self.shard.image(row)


@dataclass(frozen=True)
class MaskJob:
    """Make the masks of one source."""

    store: Path
    side: int
    shards: Mapping[str, str]
    maker: MaskMaker
    encoders: Sequence[EncoderMaps]
    settings: str
    out: OutFolder

    def load(self) -> None:
        """Open the encoders."""
        for one in self.encoders:
            one.open()

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Read the source's images, as often as the provider wants, and write its plane."""
        with _blamed(source):
            shard = Shard(self.store / self.shards[source.id])
            subjects = self.maker.of_source(Images(shard, turn))
            told = told_of(shard, _fill(subjects)) | {SETTINGS: self.settings}
        tallies = list[Tally]()
        masks = self._masks(subjects, shard.rows, source, turn, tallies)
        write_masks(self.out.path / f"{source.id}.arrow", masks, told)
        tally = sum(tallies, Tally())
        return Outcome(source, "done", tally.masks, more={"tally": tally})

    def _masks(
        self, subjects: Subjects, count: int, source: Source, turn: Turn, tallies: list[Tally]
    ) -> Iterator[NDArray[np.bool_]]:
        with _blamed(source):
            given = iter(subjects.masks)
        for place in range(count + 1):
            with _blamed(source):
                mask: Any = next(given, END)
                if mask is END and place < count:
                    raise UnreadableSource(f"the provider gave {place} masks of {count} images")
                if mask is not END and place == count:
                    raise UnreadableSource(f"the provider gave more masks than {count} images")
            if mask is not END:
                self._check(mask, place)
                tallies.append(Tally.of(mask))
                turn.beat()
                yield mask

    def _check(self, mask: Any, place: int) -> None:
        kind, shape = getattr(mask, "dtype", type(mask).__name__), getattr(mask, "shape", ())
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise UnreadableSource(f"the provider's mask {place} is {kind}, not bool")
        if shape != (self.side, self.side):
            sides = " x ".join(map(str, shape))
            raise UnreadableSource(
                f"the provider's mask {place} has {sides} px, its image {self.side} x {self.side}"
            )


@contextmanager
def _blamed(source: Source) -> Iterator[None]:
    """What goes wrong in a provider, or with the images that it reads, is its source's reason."""
    try:
        yield
    except (UnreadableSource, CannotWrite):
        raise
    except HistoscopeError as fault:
        raise UnreadableSource(" ".join(str(fault).split())) from fault
    except Exception as fault:
        if refusal(fault, FULL):
            raise
        raise as_reason(source, fault) from fault


def _fill(subjects: Subjects) -> tuple[int, int, int]:
    red, green, blue = (int(one) for one in subjects.fill)
    if not all(0 <= one <= 255 for one in (red, green, blue)):
        raise UnreadableSource(f"the provider's fill {subjects.fill} is no RGB of 0 to 255")
    return red, green, blue


def plane_name(provider: MaskProvider, settings: Spec, encoders: Sequence[EncoderMaps] = ()) -> str:
    """``mask:provider@version``, with a digest of what is not the provider's default.

    An encoder counts by its weights, whatever word it was opened by.
    """
    name = f"mask:{provider.name}@{provider.version}"
    asked = settings.model_dump(mode="json", exclude_defaults=True)
    if not asked and not encoders:
        return name
    told = json.dumps(_by_weights(asked, encoders), sort_keys=True)
    digest = digest_of_bytes([told.encode(), *(one.digest.encode() for one in encoders)])
    return f"{name}-{digest[:SUFFIX]}"


def _by_weights(value: Any, encoders: Sequence[EncoderMaps]) -> Any:
    """Settings in which an encoder's word is replaced by the digest of its weights."""
    if isinstance(value, Mapping):
        return {key: _by_weights(one, encoders) for key, one in value.items()}
    return next((one.digest for one in encoders if one.word == value), value)


def make_masks(
    store: Store,
    provider: MaskProvider,
    settings: Spec,
    *,
    engine: Engine = ONE_WORKER,
    compute: Compute = AUTO,
    progress: Progress,
) -> MadeMasks:
    """Make masks of all images of a store, but for sources that have them.

    Args:
        store: which; its images, index and ``store.json`` stay as they are.
        provider: who makes them.
        settings: of the class that it names.
        engine: who works.
        compute: where encoders run, if the provider wants any.
        progress: who is told.

    Raises:
        UsageError: settings or an encoder that cannot be, or another call makes these masks.
        CannotWrite: the machine refuses a file; what is finished stays.
        Interrupted: what is finished stays; the same call goes on.
    """
    opening = Encoders(store, compute, progress)
    maker = provider.make(settings, opening)
    encoders = opening.close()
    name = plane_name(provider, settings, encoders)
    progress.say(f"masks: {name}{_said(settings)}")
    shards, folder = shards_of(store), plane_folder(store, name)
    _say_without(store, shards, progress)
    sources = [_source(row) for key, row in store.manifest.items() if key in shards]
    told = json.dumps(_asked(settings, encoders), sort_keys=True)
    job = MaskJob(
        store.path,
        store.sampling.size_px,
        shards,
        maker,
        encoders,
        told,
        OutFolder(folder, ("histoscope.shard", 1)),
    )
    with alone(folder, ""), _removed_if_empty(folder):
        remove_left(folder)
        tallies = {one.id: _standing(folder, store.path, shards, one) for one in sources}
        todo = [one for one in sources if tallies[one.id] is None]
        if len(todo) < len(sources):
            progress.say(f"{len(sources) - len(todo)} of {len(sources)} sources have them already")
        begun = time.monotonic()
        outcomes = _work(job, todo, store, engine, progress)
        seconds = time.monotonic() - begun
        standing = {one: tally for one, tally in tallies.items() if tally is not None}
        return _made(job, name, standing, outcomes, seconds)


def _said(settings: Spec) -> str:
    asked = settings.model_dump(mode="json", exclude_defaults=True)
    return f" ({', '.join(f'{key} {value}' for key, value in asked.items())})" if asked else ""


def _asked(settings: Spec, encoders: Sequence[EncoderMaps]) -> dict[str, Any]:
    """Settings that are not the provider's defaults, as they may stand in a file."""
    given = settings.model_dump(exclude_defaults=True)
    named: dict[str, Any] = _by_weights(settings.named(), encoders)
    return {key: named[key] for key in given}


def _say_without(store: Store, shards: Mapping[str, str], progress: Progress) -> None:
    paths = [row["path"] for key, row in store.manifest.items() if key not in shards]
    if paths:
        progress.say(f"skipped: {len(paths)} sources without samples ({listed(paths)})")


def _source(row: Mapping[str, Any]) -> Source:
    return Source(row["id"], row["path"], row["root"])


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """A plane without files is none."""
    try:
        yield
    finally:
        with suppress(OSError):  # it holds something
            folder.rmdir()
            folder.parent.rmdir()


def _standing(folder: Path, store: Path, shards: Mapping[str, str], source: Source) -> Tally | None:
    """What a source's masks hold, where it has whole ones, of the images that it has now."""
    try:
        path = folder / f"{source.id}.arrow"
        file, images = Shard(path), Shard(store / shards[source.id])
        same = file.told.get(OF) == images.fingerprint() and file.rows == images.rows
        return tally_of(path) if same else None
    except DataError:
        return None


def _work(
    job: MaskJob, todo: Sequence[Source], store: Store, engine: Engine, progress: Progress
) -> list[Outcome]:
    """Run the job; a source that fails has no plane afterwards."""
    folder, outcomes = job.out.path, list[Outcome]()
    samples = {one.id: int(store.manifest[one.id]["samples"]) for one in todo}
    progress.start("masks", sum(samples.values()), "images")
    with StopFlag() as stop:
        for outcome in engine.run(job, todo, stop):
            outcomes.append(outcome)
            if outcome.status == "failed":
                file = folder / f"{outcome.source.id}.arrow"
                with writing(file):
                    file.unlink(missing_ok=True)
                progress.say(f"{outcome.source.path}: failed: {outcome.reason}")
            progress.advance(samples[outcome.source.id])
    progress.finish()
    remove_left(folder)
    return outcomes


def _made(
    job: MaskJob,
    name: str,
    standing: Mapping[str, Tally],
    outcomes: Sequence[Outcome],
    seconds: float,
) -> MadeMasks:
    now = {one.source.id: one.more["tally"] for one in outcomes if one.status == "done"}
    there = {**standing, **now}
    files = [job.out.path / f"{one}.arrow" for one in there]
    return MadeMasks(
        name,
        outcomes,
        sum(there.values(), Tally()),
        len(there),
        sum(one.samples for one in outcomes),
        seconds,
        sum(file.stat().st_size for file in files),
        sum((job.store / job.shards[one]).stat().st_size for one in there),
    )
