"""The layers of an encoder that may be read: its blocks, and the head of the run that made it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from histoscope.core.data.store import Store
from histoscope.core.encoders.contract import USUAL
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.layers import LayersEncoder, layered, only, places_of
from histoscope.core.errors import UsageError, near_word
from histoscope.core.learning.spec import CHOOSE
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Progress
from histoscope.core.training.checkpoint import load_head


def cut_encoder(
    loaded: LoadedEncoder, word: str, cut: str, store: Store, progress: Progress
) -> LoadedEncoder:
    """An encoder that gives what a cut asks for, as it is where that is the usual output.

    Args:
        loaded: the encoder.
        word: of the command line, that named it.
        cut: ``usual``, ``choose`` or the name of a layer.
        store: of the images.
        progress: who is told which layers there are.

    Raises:
        UsageError: it has no blocks, or no such layer.
    """
    if cut == USUAL:
        return loaded
    if not getattr(loaded.encoder, "blocks", None):
        where = loaded.info.network.architecture
        raise UsageError(f"--cut {cut}: encoder {where}: has no blocks that can be probed")
    head = _head(Path(word), int(getattr(loaded.encoder, "dim", 0)))
    made = layered(loaded, head, store.sampling.size_px)
    names = list(places_of(made.info.network))
    if cut == CHOOSE:
        progress.say(f"--cut {cut}: each draw chooses among {', '.join(names)}")
        return made
    if cut not in names:
        raise UsageError(
            f"--cut {cut}: {word} has no such layer{near_word(cut, names)}; it has "
            f"{', '.join(names)}; a probe takes the best of them with choose"
        )
    return only(made, [cut])


def _head(folder: Path, dim: int) -> nn.Module | None:
    """The projection head of a run, or that which a package kept of one."""
    if (folder / "package.json").is_file():
        kept = open_package(folder).encoder().encoder
        return kept.head if isinstance(kept, LayersEncoder) and len(kept.head) else None
    return load_head(folder, dim)
