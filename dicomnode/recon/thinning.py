"""Held-out counts: choosing a stopping point or a prior weight without a truth.

Counts y of raw Poisson data are dealt out at random, each with chance p to the training part: then the two
parts are independent Poisson data of p and 1 - p of the same expectation. An image made from the training
part is judged by the Poisson log likelihood of the held-out part. Its expectation over splits is, but for a
constant, the negative Kullback-Leibler distance of the image's expected counts from the true ones: no truth
is needed (Zhang, Zhou, Qi, Phys. Med. Biol. 62, 5114, 2017, "cross-validation log likelihood"; Coakley,
Llacer, SPIE 1443, 1991, for stopping). Only raw whole counts may be thinned, and the image's expected counts
and the scatter estimate are scaled alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.recon.algorithms import FLOOR
from dicomnode.recon.model import SystemModel

K = TypeVar("K", int, float)

HELD_OUT = 0.2
"""Share of the counts that judges. Our own choice: a fifth costs little resolution of the training part."""


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


def expected_held_out(model: SystemModel, image: Tensor, scatter: Tensor, share: float) -> Tensor:
    """Expected held-out counts of an image that was made from the training part."""
    return (model.forward(image) / (1.0 - share) + scatter) * share


@dataclass(frozen=True, eq=False)
class Choice(Generic[K]):
    """What held-out counts prefer.

    Attributes
    ----------
    best : the candidate with the highest log likelihood, summed over splits
    scores : candidate -> its gain over the best (0 for the best itself, else negative) with the standard
        error of that difference. Splits of the same counts overlap: with several, the error is a guide
    at_edge : True where the best is the first or the last candidate: the range should be widened
    """

    best: K
    scores: Mapping[K, Score]
    at_edge: bool

    def equally_good(self, sigmas: float = 1.0) -> tuple[K, ...]:
        """Candidates whose difference from the best is within ``sigmas`` of its standard errors."""
        return tuple(key for key, score in self.scores.items() if -score.gain <= sigmas * score.sigma)


def choose_stop(
    updates: Callable[[Tensor, Tensor], Iterator[Tensor]],
    model: SystemModel,
    counts: npt.NDArray[np.integer],
    scatter: Tensor,
    candidates: Sequence[int],
    *,
    seed: int,
    splits: int = 1,
    share: float = HELD_OUT,
) -> Choice[int]:
    """Number of updates after which an algorithm predicts held-out counts best.

    Parameters
    ----------
    updates : (counts, scatter) -> images after each update, from ``algorithms``
    counts : integer (views, axial, transaxial)
    scatter : expected scatter of all counts
    candidates : ascending numbers of updates
    """
    ordered = sorted(set(candidates))
    if not ordered or ordered[0] < 1:
        raise OutOfDomain("numbers of updates to choose from", tuple(candidates), "", "at least 1 each")

    def images(train: Tensor, scaled: Tensor) -> Iterator[tuple[int, Tensor]]:
        for number, image in enumerate(updates(train, scaled), start=1):
            if number in ordered:
                yield number, image
            if number >= ordered[-1]:
                return

    return _choose(images, model, counts, scatter, seed=seed, splits=splits, share=share)


def choose_weight(
    reconstruct: Callable[[Tensor, Tensor, float], Tensor],
    model: SystemModel,
    counts: npt.NDArray[np.integer],
    scatter: Tensor,
    candidates: Sequence[float],
    *,
    seed: int,
    splits: int = 1,
    share: float = HELD_OUT,
) -> Choice[float]:
    """Prior weight with which an algorithm predicts held-out counts best.

    ``reconstruct`` takes (counts, scatter, weight). Other parameters as ``choose_stop``.
    """

    def images(train: Tensor, scaled: Tensor) -> Iterator[tuple[float, Tensor]]:
        for weight in sorted(set(candidates)):
            yield weight, reconstruct(train, scaled, weight)

    return _choose(images, model, counts, scatter, seed=seed, splits=splits, share=share)


def _choose(
    images: Callable[[Tensor, Tensor], Iterator[tuple[K, Tensor]]],
    model: SystemModel,
    counts: npt.NDArray[np.integer],
    scatter: Tensor,
    *,
    seed: int,
    splits: int,
    share: float,
) -> Choice[K]:
    """Compare all candidates over several splits, each with the best of all."""
    predictions: dict[K, list[Tensor]] = {}
    held_out = []
    for number in range(splits):
        parts = split_counts(counts, share, seed + number)
        held_out.append(parts.held_out)
        for key, image in images(parts.train, scatter * (1.0 - share)):
            predictions.setdefault(key, []).append(expected_held_out(model, image, scatter, share))
    first = next(iter(predictions))
    best = max(predictions, key=lambda key: _total(predictions[key], predictions[first], held_out).gain)
    scores = {key: _total(found, predictions[best], held_out) for key, found in predictions.items()}
    return Choice(best, scores, best in (min(scores), max(scores)) and len(scores) > 1)


def _total(found: Sequence[Tensor], reference: Sequence[Tensor], held_out: Sequence[Tensor]) -> Score:
    """The scores of all splits together."""
    each = [held_out_score(a, b, counts) for a, b, counts in zip(found, reference, held_out, strict=True)]
    return Score(sum(score.gain for score in each), sqrt(sum(score.sigma**2 for score in each)))
