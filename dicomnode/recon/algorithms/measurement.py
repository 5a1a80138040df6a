"""Counts with what is added to them, and their split into independent parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dicomnode.errors import Inconsistent
from dicomnode.recon.algorithms.held_out import split_counts


@dataclass(frozen=True, eq=False)
class Measurement:
    """A share of a scan: y ~ Poisson(share (A x + s)).

    Attributes
    ----------
    counts : (views, axial, transaxial) whole numbers as float32
    scatter : s of the whole scan, counts, same shape
    share : expected part of the scan's counts
    """

    counts: Tensor
    scatter: Tensor
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.counts.shape != self.scatter.shape or not 0 < self.share <= 1:
            raise Inconsistent(
                f"counts {tuple(self.counts.shape)}, scatter {tuple(self.scatter.shape)}, share {self.share}"
            )

    @property
    def additive(self) -> Tensor:
        """Scatter expected in this share."""
        return self.scatter * self.share

    def split(self, first: float, seed: int) -> tuple[Measurement, Measurement]:
        """Two independent shares by binomial thinning: ``first`` of the counts, and the rest."""
        parts = split_counts(self.counts.numpy().astype(np.int64), 1 - first, seed)
        return (
            Measurement(parts.train, self.scatter, self.share * first),
            Measurement(parts.held_out, self.scatter, self.share * (1 - first)),
        )


def log_likelihood(measured: Measurement, expected: Tensor) -> float:
    """Poisson log likelihood of the counts, without the part that no image changes.

    ``expected`` : A x + s of the whole scan.
    """
    mean = (expected * measured.share).clamp_min(1e-9).double()
    return float((measured.counts * torch.log(mean) - mean).sum())
