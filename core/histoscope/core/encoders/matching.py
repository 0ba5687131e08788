"""Which tensors of a checkpoint are which of a network: by name and shape, else in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from histoscope.core.encoders.checkpoint import Checkpoint
from histoscope.core.errors import UsageError, near_word

# what wrappers and methods put before the names of the network that they hold; also one behind the
# other, as in teacher.backbone.
PREFIXES = (
    *("module.", "backbone.", "teacher.", "student.", "encoder_q."),
    *("encoder.", "model.", "base_encoder."),
)
COUNTER = "num_batches_tracked"  # no weight: older files lack it, and nothing is lost
LEAVES = {"weight", "bias", "running_mean", "running_var", COUNTER}
CLASSIFIER = 4  # tensors that may be left at the end, in order: two layers


@dataclass(frozen=True)
class Match:
    """How the tensors below one name of a file cover a network.

    Attributes:
        prefix: the name, with the dot behind it; empty at the top.
        taken: the network's name to the file's.
        shapes: the network's name to its shape and the file's, where they differ.
        missing: names of the network that the file has not, those of ``shapes`` included.
        left: names of the file, below the prefix, that the network has not.
        in_order: taken by order, as the names say nothing.
    """

    prefix: str
    taken: Mapping[str, str]
    shapes: Mapping[str, tuple[Sequence[int], Sequence[int]]] = field(default_factory=dict)
    missing: Sequence[str] = ()
    left: Sequence[str] = ()
    in_order: bool = False

    @property
    def place(self) -> str:
        """The prefix as ``--key`` takes it."""
        return self.prefix.rstrip(".")


def match(network: Mapping[str, Tensor], file: Checkpoint, key: str | None, where: str) -> Match:
    """The one match that covers most of a network.

    Args:
        network: its state.
        file: what is there.
        key: only below this dotted name.
        where: the file, for messages.

    Raises:
        UsageError: no such key, or several places cover it alike with other numbers.
    """
    start = f"{key}." if key else ""
    if key and not any(name.startswith(start) for name in file.tensors):
        known = sorted({name.rpartition(".")[0] for name in file.tensors} | set(file.places))
        tops = sorted({name.split(".")[0] for name in file.tensors if "." in name})
        raise UsageError(
            f"{where}: nothing is called {key!r} there{near_word(key, known)} "
            f"(the file has {some(tops)})"
        )
    prefixes = list(_prefixes(file, start))
    found = [_by_name(network, file.tensors, prefix) for prefix in prefixes]
    most = max(len(one.taken) for one in found)
    if file.ordered and 2 * most < len(network):
        ordered = [_in_order(network, file.tensors, prefix) for prefix in reversed(prefixes)]
        found = [one for one in ordered if one is not None] or found
        most = max(len(one.taken) for one in found)
    best = [one for one in found if len(one.taken) == most]
    rivals = [one for one in best[1:] if most and not _same(best[0], one, file.tensors)]
    if rivals:
        names = [one.place or "the file itself" for one in (best[0], *rivals)]
        raise UsageError(
            f"{where}: holds several networks that fit; choose one: "
            + " or ".join(f"--key {name}" for name in names)
        )
    return best[0]


def _prefixes(file: Checkpoint, start: str) -> Iterator[str]:
    """Where a network may begin, the shortest name first."""
    open_ = {start, *(f"{place}." for place in file.places if f"{place}.".startswith(start))}
    open_ -= {"."}
    known = set[str]()
    while open_ - known:
        prefix = min(open_ - known, key=lambda one: (len(one), one))
        known.add(prefix)
        yield prefix
        rest = [name[len(prefix) :] for name in file.tensors if name.startswith(prefix)]
        open_ |= {prefix + more for more in PREFIXES if any(one.startswith(more) for one in rest)}


def _by_name(network: Mapping[str, Tensor], tensors: Mapping[str, Tensor], prefix: str) -> Match:
    there = {name: tensors[prefix + name] for name in network if prefix + name in tensors}
    fits = {name for name, value in there.items() if value.shape == network[name].shape}
    return Match(
        prefix,
        {name: prefix + name for name in there if name in fits},
        {
            name: (tuple(network[name].shape), tuple(value.shape))
            for name, value in there.items()
            if name not in fits
        },
        [name for name in network if name not in fits and leaf(name) != COUNTER],
        [name for name in tensors if name.startswith(prefix) and name[len(prefix) :] not in there],
    )


def _in_order(
    network: Mapping[str, Tensor], tensors: Mapping[str, Tensor], prefix: str
) -> Match | None:
    """All of a network in the file's order, a classifier at the end left over; None: not so."""
    names = [name for name in tensors if name.startswith(prefix)]
    counted = any(leaf(name) == COUNTER for name in names)
    wanted = [name for name in network if counted or leaf(name) != COUNTER]
    left = names[len(wanted) :]
    if len(names) < len(wanted) or len(left) > CLASSIFIER:
        return None
    pairs = list(zip(wanted, names, strict=False))
    if all(_alike(network[ours], tensors[theirs], ours, theirs) for ours, theirs in pairs):
        return Match(prefix, dict(pairs), left=left, in_order=True)
    return None


def _alike(ours: Tensor, theirs: Tensor, name: str, other: str) -> bool:
    """Of one shape, and where both bear torch's own names (a mean, a variance), of one name."""
    kinds = {leaf(name), leaf(other)}
    if ours.shape != theirs.shape or (len(kinds) > 1 and (kinds <= LEAVES or COUNTER in kinds)):
        return False
    return leaf(name) != "running_var" or bool((theirs >= 0).all())


def _same(one: Match, other: Match, tensors: Mapping[str, Tensor]) -> bool:
    """Whether two matches give a network the same numbers."""
    return one.taken.keys() == other.taken.keys() and all(
        one.taken[name] == other.taken[name]
        or torch.equal(tensors[one.taken[name]], tensors[other.taken[name]])
        for name in one.taken
    )


def leaf(name: str) -> str:
    """What stands behind the last dot."""
    return name.rpartition(".")[2]


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few names and how many there are."""
    more = f", ... ({len(names)})" if len(names) > most else ""
    return ", ".join(names[:most]) + more
