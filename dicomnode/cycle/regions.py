"""Regions that need no contours: the body, and where the activity is."""

from __future__ import annotations

from typing import Any

import numpy as np

from dicomnode.model import ActivityMap, LabelMap

THRESHOLD_OF_MAXIMUM = 0.41
"""Fraction of the maximum inside the outline. Customary values in emission imaging lie near 40 %; this one is
our choice, stands in for contours that nobody sent, and says nothing of an organ's true border."""


def with_default_regions(
    regions: LabelMap | None, body: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], activity: ActivityMap
) -> LabelMap:
    """The given regions and the body; without any given, also the voxels above 41 % of the maximum."""
    shares: dict[str, Any] = dict(regions.shares) if regions is not None else {}
    volumes = dict(regions.volume_ml) if regions is not None else {}
    if not shares:
        peak = float(activity.bq_per_ml.max())
        shares["uptake-above-41%"] = activity.bq_per_ml >= THRESHOLD_OF_MAXIMUM * peak
    shares.setdefault("body", body)
    return LabelMap(activity.grid, shares, volumes)
