"""Held-out counts: judging images without a truth.

Counts y of raw Poisson data are dealt out at random, each with chance p to the training part: then the two
parts are independent Poisson data of p and 1 - p of the same expectation. An image made from the training
part is judged by the Poisson log likelihood of the held-out part. Its expectation over splits is, but for a
constant, the negative Kullback-Leibler distance of the image's expected counts from the true ones: no truth
is needed (Zhang, Zhou, Qi, Phys. Med. Biol. 62, 5114, 2017, "cross-validation log likelihood"; Coakley,
Llacer, SPIE 1443, 1991, for stopping). Only raw whole counts may be thinned, and the image's expected counts
and the scatter estimate are scaled alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.recon.algorithms.iterative import FLOOR

K = TypeVar("K", int, float)


@dataclass(frozen=True, eq=False)
class Split:
    """Counts in two independent parts.

    Attributes
    ----------
    train, held_out : float32 (views, axial, transaxial), whole numbers
    share : expected share of the counts in ``held_out``
    """

    train: Tensor
    held_out: Tensor
    share: float


def split_counts(counts: npt.NDArray[np.integer], share: float, seed: int) -> Split:
    """Deal counts out. Raises Inconsistent for anything but whole, not negative numbers."""
    if not 0 < share < 1:
        raise OutOfDomain("share of held-out counts", share, "", "between 0 and 1")
    if not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0:
        raise Inconsistent("only raw whole counts can be thinned; these were scaled or corrected before")
    held_out = np.random.default_rng(seed).binomial(counts, share)
    return Split(
        torch.from_numpy((counts - held_out).astype(np.float32)),
        torch.from_numpy(held_out.astype(np.float32)),
        share,
    )


@dataclass(frozen=True)
class Score:
    """Held-out log likelihood of a candidate, relative to a reference image's on the same counts.

    Attributes
    ----------
    gain : log likelihood less the reference's; higher is better
    sigma : standard error of ``gain`` from the noise of the held-out counts (Zhang 2017: sum over bins of
        y log^2 of the ratio of expected counts)
    """

    gain: float
    sigma: float


def held_out_score(expected: Tensor, reference: Tensor, held_out: Tensor) -> Score:
    """How much better ``expected`` predicts the held-out counts than ``reference`` does.

    All arrays are counts of the held-out part, of one shape. The gain is the sum of y log(a / b) - (a - b);
    given the images, y is Poisson, so that its variance is the sum of E[y] log^2(a / b), estimated with y.
    """
    least = FLOOR * float(held_out.mean(dtype=torch.float64))
    a, b = (part.double().clamp(min=least) for part in (expected, reference))
    log_ratio = torch.log(a / b)
    counts = held_out.double()
    gain = float((counts * log_ratio - (a - b)).sum())
    return Score(gain, sqrt(float((counts * log_ratio.square()).sum())))


@dataclass(frozen=True, eq=False)
class Choice(Generic[K]):
    """What held-out counts prefer.

    Attributes
    ----------
    best : the candidate with the highest log likelihood
    scores : candidate -> its gain over the best (0 for the best itself, else negative) with the standard
        error of that difference
    """

    best: K
    scores: Mapping[K, Score]

    def equally_good(self, sigmas: float) -> tuple[K, ...]:
        """Candidates whose difference from the best is within ``sigmas`` of its standard errors."""
        return tuple(key for key, score in self.scores.items() if -score.gain <= sigmas * score.sigma)


def compare(predictions: Mapping[K, Tensor], held_out: Tensor) -> Choice[K]:
    """Which candidate predicts the held-out counts best, and by how much.

    Parameters
    ----------
    predictions : candidate -> counts of the held-out part that its image, made without them, lets expect
    held_out : counts, same shape
    """
    first = next(iter(predictions.values()))
    best = max(predictions, key=lambda key: held_out_score(predictions[key], first, held_out).gain)
    return Choice(best, {k: held_out_score(p, predictions[best], held_out) for k, p in predictions.items()})
