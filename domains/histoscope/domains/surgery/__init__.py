"""Operations: videos and frames, phases and tools."""

from histoscope.domains.surgery.domain import SurgeryDomain

DOMAIN = SurgeryDomain()

__all__ = ["DOMAIN"]
