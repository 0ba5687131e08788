"""A package as a teacher."""

from __future__ import annotations

from pathlib import Path

from histoscope.core.data.store import Store
from histoscope.core.errors import UsageError, near_word
from histoscope.core.inference.answering import Answering
from histoscope.core.packages.package import open_package
from histoscope.core.stages.encoders import check_fits
from histoscope.core.training.run import Model


def open_model(word: str, store: Store, task: str | None) -> Model:
    """What a package answers of each sample: its first draw, as in ``predict``.

    Args:
        word: the package's folder.
        store: what it will read.
        task: of the package; None: its only one.

    Raises:
        UsageError: no package, no such task, or one that is not of samples or whose classes may
            hold together.
        DataError: damaged, or made for images of another scale.
    """
    folder = Path(word)
    if not (folder / "package.json").is_file():
        raise UsageError(f"objective.teacher: {word}: no model package here; finetune makes one")
    package = open_package(folder)
    check_fits(package.info.encoder, store, word)
    names = [head.task for head in package.info.heads]
    if task is None and len(names) > 1:
        raise UsageError(
            f"objective.task: {word} answers {', '.join(names)}; --set objective.task={names[0]}"
        )
    name = names[0] if task is None else task
    if name not in names:
        raise UsageError(
            f"objective.task: {word} has no task {name!r}{near_word(name, names)}; it has "
            f"{', '.join(names)}"
        )
    place = names.index(name)
    about = package.info.heads[place]
    if about.level != "sample" or not about.exclusive:
        raise UsageError(
            f"objective.teacher: {name} of {word} does not say which one class each "
            "sample is of; give a package whose task does"
        )
    encoder, heads = package.first_draw()
    return Model(Answering(encoder, heads[place]), package.seen)
