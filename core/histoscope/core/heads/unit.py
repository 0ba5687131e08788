"""Features at unit length."""

from __future__ import annotations

import numpy as np

from histoscope.core.heads.contract import Rows


def unit_rows(features: Rows, centre: Rows) -> Rows:
    """Features seen from a centre, at unit length (Wang et al. 2019, "SimpleShot", CL2N)."""
    away = features - centre
    length = np.linalg.norm(away, axis=1, keepdims=True)
    return np.asarray(away / np.maximum(length, 1e-12), np.float32)
