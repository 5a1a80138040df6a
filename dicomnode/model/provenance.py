"""Where a result came from: enough to repeat it and to compare digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Provenance:
    """The record of one calculation.

    Attributes
    ----------
    version : version of this package
    config_digest : SHA-256 of the canonical configuration
    inputs : SOP Instance UID (or role) -> SHA-256 of its bytes
    engine : name and version of the dose engine
    data_digests : name -> SHA-256 of kernels, weights and tables used
    settings : every parameter of the calculation
    seed : random seed
    started_at, ended_at : aware datetimes
    """

    version: str
    config_digest: str
    inputs: Mapping[str, str]
    engine: str
    data_digests: Mapping[str, str]
    settings: Mapping[str, object]
    seed: int
    started_at: datetime
    ended_at: datetime
    notes: Mapping[str, str] = field(default_factory=dict)
