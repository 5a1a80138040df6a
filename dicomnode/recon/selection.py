"""The image of a protocol: classical algorithms, with what is automatic chosen by held-out counts.

The counts are thinned into four fifths and one fifth; candidates are reconstructed from the four fifths and
the one that predicts the fifth best (of priors: the weakest of those equally good) is made again from all
counts (cross-validated likelihood: Coakley and Llacer 1991 for stopping, Zhang, Zhou and Qi, PMB 62:5114,
2017 for the weight of a prior).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from torch import Tensor

from dicomnode.recon.algorithms.held_out import compare
from dicomnode.recon.algorithms.iterative import bsrem, gaussian_filter, osem, osem_updates, osl
from dicomnode.recon.algorithms.measurement import Measurement, log_likelihood
from dicomnode.recon.protocol import Protocol
from dicomnode.recon.scan import Scan

KEPT = 0.8
"""Share of the counts that candidates are made from; our own choice: the fifth that judges costs little."""
PRIOR_WEIGHTS: Mapping[str, tuple[float, ...]] = {
    "bsrem": (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6),
    "osl": (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
}
"""Candidates, relative to the mean sensitivity; our own choice, on both sides of what 1e6 and 5e6 counts in
60 views chose."""
MAP_ITERATIONS = 10
AS_GOOD_SIGMAS = 2.0
"""A weight is as good as the best one where held-out counts prefer that by fewer standard errors; our own
choice, as for the acceptance of learned images. On the NEMA set (docs/reconstruction.md) it takes back the
step by which the best likelihood smooths too much."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image and how it was made.

    Attributes
    ----------
    counts : (z, y, x), counts per voxel towards a mean view
    repeat : makes it again from other counts of the same scan, every choice as it was made
    parameters : every choice by name
    of_kept : the same from four fifths of the counts, where something was chosen by the rest
    """

    counts: Tensor
    repeat: Callable[[Measurement], Tensor]
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    of_kept: Tensor | None = None


def reference(scan: Scan, protocol: Protocol) -> Image:
    """OSEM with the protocol's subsets, iterations and filter: what always stands beside."""
    return _fixed(
        scan, protocol, 1 if protocol.algorithm == "mlem" else protocol.subsets, protocol.iterations
    )


def stopped(scan: Scan, protocol: Protocol, kept: Measurement, held: Measurement) -> Image:
    """OSEM or MLEM, ended at the pass that predicts the held-out counts best, ``iterations`` at most. Passes
    are judged as they would be delivered, with the protocol's filter."""
    subsets = 1 if protocol.algorithm == "mlem" else protocol.subsets
    updates = osem_updates(scan.model, kept.counts, kept.additive, subsets=subsets)
    passes = islice(updates, subsets - 1, subsets * protocol.iterations, subsets)
    width = protocol.filter_fwhm_mm
    images = {
        number: gaussian_filter(image / kept.share, scan.model.geometry, width)
        for number, image in enumerate(passes, start=1)
    }
    best = compare({n: predicted(scan, image, held) for n, image in images.items()}, held.counts).best
    image = _fixed(scan, protocol, subsets, best)
    return Image(image.counts, image.repeat, {"iterations": best}, images[best])


def penalised(scan: Scan, protocol: Protocol, algorithm: str, kept: Measurement, held: Measurement) -> Image:
    """MAP by BSREM or OSL; the weight of the prior is the protocol's, or chosen by the held-out counts: the
    weakest of those that predict them equally well, since of two images that the data cannot tell apart the
    smoother one recovers less of what is small."""
    made = bsrem if algorithm == "bsrem" else osl

    def of(data: Measurement, weight: float) -> Tensor:
        image = made(
            scan.model, data.counts, data.additive, beta=weight, subsets=protocol.subsets,
            iterations=MAP_ITERATIONS,
        )  # fmt: skip
        return image / data.share

    images: dict[float, Tensor] = {}

    def predict(weight: float) -> Tensor:
        images[weight] = of(kept, weight)
        return predicted(scan, images[weight], held)

    weights = PRIOR_WEIGHTS[algorithm] if protocol.prior_weight is None else (protocol.prior_weight,)
    weight = weakest(weights, predict, held.counts)
    return Image(
        of(scan.data, weight), lambda data: of(data, weight), {"prior_weight": weight}, images[weight]
    )


def weakest(weights: Sequence[float], predict: Callable[[float], Tensor], held_out: Tensor) -> float:
    """The weakest of the weights (ascending) that predict held-out counts as well as the best one, within
    ``AS_GOOD_SIGMAS`` standard errors of the difference.

    From the middle up for as long as that is better, and down for as long as it is no worse: the likelihood
    has one maximum along the weight, so most candidates need not be made.
    """
    middle = len(weights) // 2
    found = {middle: predict(weights[middle])}
    for k in range(middle + 1, len(weights)):
        found[k] = predict(weights[k])
        if compare(found, held_out).best != k:
            break
    while (lowest := min(found)) > 0 and lowest in compare(found, held_out).equally_good(AS_GOOD_SIGMAS):
        found[lowest - 1] = predict(weights[lowest - 1])
    return weights[min(compare(found, held_out).equally_good(AS_GOOD_SIGMAS))]


def predicted(scan: Scan, image: Tensor, held: Measurement) -> Tensor:
    """Counts that an image in counts of the whole scan lets expect in the held-out share."""
    return held.share * (scan.model.forward(image) + held.scatter)


def score(scan: Scan, image: Tensor, held: Measurement) -> float:
    """Held-out log likelihood of an image in counts of the whole scan."""
    return log_likelihood(held, scan.model.forward(image) + held.scatter)


def _fixed(scan: Scan, protocol: Protocol, subsets: int, iterations: int) -> Image:
    def of(data: Measurement) -> Tensor:
        image = osem(scan.model, data.counts, data.additive, subsets=subsets, iterations=iterations)
        return gaussian_filter(image / data.share, scan.model.geometry, protocol.filter_fwhm_mm)

    return Image(of(scan.data), of, {"iterations": iterations, "subsets": subsets})
