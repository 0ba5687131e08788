"""Domains by entry point: the shipped ones use the same door as a stranger's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from histoscope.core.contracts import Domain
from histoscope.core.errors import UsageError
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
