"""Domains by entry point: the shipped ones use the same door as a stranger's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from histoscope.core.config import Spec, build
from histoscope.core.contracts.domain import Domain
from histoscope.core.contracts.source import Roots, Sampling, Source, Unused
from histoscope.core.errors import DataError, UsageError, printable
from histoscope.core.registry import Registry

DOMAINS: Registry[Domain] = Registry("domain", {}, group="histoscope.domains")


def chosen_domain(name: str | None) -> str:
    """The name given, or that of the only domain installed.

    Raises:
        UsageError: none given, and several installed.
    """
    names = [domain.name for domain in working_domains()] if name is None else []
    if name is None and len(names) != 1:
        raise UsageError(f"give --domain with one of: {', '.join(names)}")
    return name or names[0]


def working_domains() -> Iterator[Domain]:
    """The installed domains that load; asking for another one, and ``doctor``, say why not."""
    for name in DOMAINS.names():
        with suppress(UsageError):
            yield load_domain(name)


def load_domain(name: str) -> Domain:
    """The domain of that name.

    Raises:
        UsageError: unknown, claimed twice, broken, or not a domain.
    """
    domain = DOMAINS.load(name)
    if not isinstance(domain, Domain):
        raise UsageError(f"domain {name!r}: its entry point does not give a Domain")
    return domain


def sampling_of(domain: str, body: Mapping[str, Any], where: str) -> Sampling:
    """How images were cut, of a file's ``sampling``; what older ones say of ``scale`` must agree.

    Args:
        domain: whose images.
        body: of the file, with ``sampling``.
        where: the file, for messages.

    Raises:
        ConfigError: no sampling of this domain.
        DataError: ``scale`` says something else.
    """
    sampling = build(load_domain(domain).sampling, body["sampling"], where)
    said = body.get("scale", sampling.scale())
    if dict(said) != dict(sampling.scale()):
        raise DataError(f"{where}: its scale {dict(said)} is not that of its sampling")
    return sampling


@dataclass(frozen=True)
class Found:
    """What a domain found below the roots.

    Attributes:
        sources: each id once.
        unused: what was given and is not used.
    """

    sources: list[Source]
    unused: list[Unused]


def find_sources(domain: Domain, roots: Roots, options: Spec) -> Found:
    """Sources below the roots; copies are one source, whose note says where they lie.

    A source whose name no table can hold is kept under an escaped one, refused.

    Raises:
        DataError: nothing found.
    """
    copies, unused = dict[str, list[Source]](), list[Unused]()
    for source in domain.find(roots, options):
        if isinstance(source, Unused):
            unused.append(source)
        else:
            copies.setdefault(source.id, []).append(_with_printable_names(source))
    if not copies:
        raise DataError(f"{', '.join(map(str, roots.values()))}: nothing found")
    sources = []
    for first, *others in copies.values():
        note = f"the same content lies in {', '.join(one.path for one in others)}" if others else ""
        sources.append(replace(first, note="; ".join(filter(None, [first.note, note]))))
    return Found(sources, unused)


def _with_printable_names(source: Source) -> Source:
    """The source, refused where its path is not UTF-8: the name that is shown opens nothing."""
    path, note = printable(source.path), printable(source.note)
    case = None if source.case is None else printable(source.case)
    refused = source.refused if path == source.path else "its name is not UTF-8; rename it"
    return replace(source, path=path, note=note, case=case, refused=refused)
