"""Domains by entry point: the shipped ones use the same door as a stranger's."""

from __future__ import annotations

from histoscope.core.contracts import Domain
from histoscope.core.errors import UsageError
from histoscope.core.registry import Registry

DOMAINS: Registry[Domain] = Registry("domain", {}, group="histoscope.domains")


def load_domain(name: str) -> Domain:
    """The domain of that name.

    Raises:
        UsageError: unknown, claimed twice, broken, or not a domain.
    """
    domain = DOMAINS.load(name)
    if not isinstance(domain, Domain):
        raise UsageError(f"domain {name!r}: its entry point does not give a Domain")
    return domain
