"""Pages of sources that are labelled by stretches of time, one a source; for the command review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from histoscope.apps.report.page import visible
from histoscope.apps.report.review_page import (
    check_keys,
    clock,
    file_stem,
    told_least,
    write_review_page,
)
from histoscope.core import __version__
from histoscope.core.config import Spec, build
from histoscope.core.contracts import Domain, Reviewable, Roots, Source
from histoscope.core.contracts.installed import Found, load_domain
from histoscope.core.errors import UsageError
from histoscope.core.files import remove_left
from histoscope.core.progress import Progress
from histoscope.core.runtime.device import Compute
from histoscope.core.stages.predict import predict
from histoscope.core.stages.review import Asked, Model, open_review, told
from histoscope.core.work.folder import OutFolder, work_through
from histoscope.core.work.job import Engine, Turn
from histoscope.core.work.outcome import DONE, Outcome
from histoscope.core.work.reading import Opening
from histoscope.core.work.said import say_found, write_unused

REVIEW = ("histoscope.review", 1)
PAGES = "pages"  # folder of the records; the pages lie beside it
THEN = "histoscope prepare INPUTS --domain {} --labels {} --out STORE"


@dataclass
class ReviewJob:
    """Write the page of one source."""

    opening: Opening
    out: OutFolder
    asked: Asked
    stems: dict[str, str]

    def load(self) -> None:
        """Nothing is needed."""

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Read its stills, then write the page beside those of others."""
        domain = reviewable(load_domain(self.opening.domain))
        stem = self.stems[source.id]
        with self.opening.open(source) as reader:
            review = open_review(domain, source, reader, self.asked, turn.beat)
            facts = dict(reader.facts)
        page, saved_as = self.out.path / f"{stem}.html", f"{stem}.csv"
        write_review_page(page, review, saved_as, THEN.format(self.opening.domain, saved_as))
        more = {"review": {**told(review), "page": page.name, "saves": saved_as}}
        shown, missing = review.stills.shown, review.stills.missing
        reason = f"{len(missing)} stills could not be read ({missing[0][1]})" if missing else ""
        return Outcome(source, "done", len(shown), len(missing), reason, facts, more)


def reviewable(domain: Domain) -> Reviewable:
    """A domain as one whose sources are labelled by time.

    Raises:
        UsageError: its sources have no time.
    """
    if not isinstance(domain, Reviewable) or "review" not in domain.options:
        raise UsageError(f"review: sources of {domain.name} have no time to label them by")
    return cast(Reviewable, domain)


def stems_of(domain: Reviewable, sources: Sequence[Source], progress: Progress) -> dict[str, str]:
    """By id of a source the name of its files without suffix; two of one name are told apart."""
    names = {one.id: domain.called(one) for one in sources}
    stems = {key: file_stem(name) for key, name in names.items()}
    taken = Counter(stem.casefold() for stem in stems.values())
    for name, count in Counter(names.values()).items():
        if count > 1:
            progress.say(
                f"{count} sources are called {visible(name)}: files of labels cannot tell them "
                "apart; rename them, or use each file alone"
            )
    return {
        key: f"{stem}-{key[:8]}" if taken[stem.casefold()] > 1 else stem
        for key, stem in stems.items()
    }


def claim(out: Path, domain: Domain, options: Spec, found: Found, asked: Asked) -> OutFolder:
    """Take the folder of the pages, or go on in it with the same settings.

    Args:
        out: the folder.
        domain: of the sources.
        options: by which they were found.
        found: they.
        asked: what is asked of them.

    Raises:
        UsageError: no class, more classes than keys, or a folder of other settings.
    """
    check_keys(asked.classes)
    if not asked.classes and not any(one.given for one in found.sources):
        raise UsageError("no class is known: give --classes A,B,C, --package or --results")
    folder = OutFolder(out, REVIEW, parts=PAGES)
    parameters = {
        "domain": domain.name,
        "task": asked.task,
        "classes": list(asked.classes),
        "model": asked.model.digest if asked.model else None,
        "every_s": asked.every_s,
        "start": asked.start,
        "least_s": asked.least_s,
        "options": options.named(),
    }
    folder.claim(parameters, {"program": __version__})
    remove_left(out)
    return folder


def predict_first(
    package: Path,
    domain: Domain,
    roots: Roots,
    options: Spec,
    model: Model,
    engine: Engine,
    compute: Compute,
    progress: Progress,
) -> None:
    """Run a package over the sources, as ``predict`` does, with those options that both know."""
    known = domain.options["predict"].model_fields
    both = {name: one for name, one in dict(options).items() if name in known}
    asked = build(domain.options["predict"], both, "command line")
    predict(package, roots, asked, model.results, engine=engine, compute=compute, progress=progress)


def write_reviews(
    opening: Opening,
    folder: OutFolder,
    found: Found,
    asked: Asked,
    *,
    engine: Engine,
    progress: Progress,
) -> list[Outcome]:
    """Write one page a source; what is there already stays.

    Args:
        opening: how they are opened.
        folder: of the pages, claimed.
        found: the sources, and what was given and is not used.
        asked: what is asked of them.
        engine: who does the work.
        progress: who is told.
    """
    say_found(found, progress)
    if asked.model and asked.model.only_ranks:
        progress.say(f"confidence only ranks: not calibrated ({asked.model.only_ranks})")
    stems = stems_of(reviewable(load_domain(opening.domain)), found.sources, progress)
    for key, stem in stems.items():
        if not (folder.path / f"{stem}.html").is_file():
            (folder.path / PAGES / key / DONE).unlink(missing_ok=True)
    job = ReviewJob(opening, folder, asked, stems)
    outcomes = work_through("review", found.sources, job, engine, progress)
    write_unused(folder.path, found.unused)
    return outcomes


def said(outcome: Outcome, out: Path) -> str:
    """One line on a page that was written."""
    made = outcome.more["review"]
    begun = {
        "labels": "begins with the known labels",
        "answers": "begins with the model's answers" + told_least(made["least_s"]),
        "nothing": "begins without labels",
    }[made["begun_by"]]
    lowered = f", {made['stills_lowered']} of lower quality" * bool(made["stills_lowered"])
    doubts = made["least_certain"]
    where = ""
    if doubts:
        first = doubts[0]
        where = (
            f"; opens at {clock(first['start_s'])}, least certain "
            f"(mean confidence {first['confidence']:.2f})"
        )
    return (
        f"{out / made['page']}: {made['stills']} stills, one in {made['every_s']:g} s{lowered}; "
        f"{begun}{where}"
    )
