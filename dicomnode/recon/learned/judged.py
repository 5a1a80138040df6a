"""The learned methods on one scan: trained on four fifths of its counts, judged on the rest, then on all.

Nothing that judges a method has been seen by it. The network is trained on the kept counts only; half of the
held-out counts makes its choices and the other half judges. The final image applies it to halves of all
counts, whose noise is nearly that of the halves it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dicomnode.recon.algorithms.iterative import bsrem, map_around, osem, subset_views
from dicomnode.recon.algorithms.measurement import Measurement
from dicomnode.recon.learned.acceptance import Acceptance, AcceptanceSettings, judge
from dicomnode.recon.learned.deep_image_prior import DeepImagePriorSettings
from dicomnode.recon.learned.deep_image_prior import fit as fit_deep_image_prior
from dicomnode.recon.learned.noise2noise import Example, Noise2NoiseSettings, prior_mean
from dicomnode.recon.learned.noise2noise import train as train_noise2noise
from dicomnode.recon.learned.split_likelihood import SplitLikelihoodSettings
from dicomnode.recon.learned.split_likelihood import train as train_split_likelihood
from dicomnode.recon.learned.supervised import apply as apply_supervised
from dicomnode.recon.learned.supervised import bundled
from dicomnode.recon.scan import Scan
from dicomnode.recon.selection import Image, score

FIRST_PASSES, NEXT_PASSES = 8, 4
"""Passes of BSREM to the sharpest candidate, and from each candidate to the next, smoother one."""
START_ITERATIONS = 2
"""OSEM iterations of the image that the deep image prior starts from."""


@dataclass(frozen=True, eq=False)
class Learned:
    """Two images of one method, counts per voxel of the whole scan.

    Attributes
    ----------
    of_kept : made without the held-out counts, to be judged
    of_all : made from all counts, to be used
    parameters : what was chosen on the way
    """

    of_kept: Tensor
    of_all: Tensor
    parameters: Mapping[str, float | str] = field(default_factory=dict)


def reconstruct_part(scan: Scan, part: Measurement, subsets: int, iterations: int) -> Tensor:
    """OSEM of a share of the counts, as counts per voxel of the whole scan."""
    image = osem(scan.model, part.counts, part.additive, subsets=subsets, iterations=iterations)
    return image / part.share


def example_of(scan: Scan, part: Measurement, subsets: int) -> Example:
    """What a network sees of a share of the counts: its image at every weight, each started from the last."""
    images: list[Tensor] = []
    for weight in Noise2NoiseSettings().candidates:
        image = bsrem(
            scan.model, part.counts, part.additive, beta=weight, subsets=subsets,
            iterations=NEXT_PASSES if images else FIRST_PASSES,
            start=images[-1] * part.share if images else None,
        )  # fmt: skip
        images.append(image / part.share)
    return Example.of(images, scan.mu_per_cm, scan.crop)


def noise2noise(scan: Scan, kept: Measurement, held: Measurement, subsets: int, seed: int) -> Learned:
    """MAP around the Noise2Noise image; its weight by the held-out counts."""
    settings = Noise2NoiseSettings()
    one, two = _examples(_pair(scan, kept, subsets, seed + 1))
    network = train_noise2noise([(one, two)], settings, seed=seed)
    of_kept = with_counts(scan, kept, prior_mean(network, [one, two]))
    of_all = prior_mean(network, _examples(_pair(scan, scan.data, subsets, seed)))
    of_all = with_counts(scan, scan.data, of_all)

    def around(data: Measurement, mean: Tensor, weight: float) -> Tensor:
        image = map_around(
            scan.model, data.counts, data.additive, mean=data.share * mean, weight=weight, subsets=subsets,
            iterations=settings.map_iterations,
        )  # fmt: skip
        return image / data.share

    images = {weight: around(kept, of_kept, weight) for weight in settings.weights}
    best = max(images, key=lambda weight: score(scan, images[weight], held))
    return Learned(images[best], around(scan.data, of_all, best), {"prior_weight": best})


def split_likelihood(scan: Scan, kept: Measurement, held: Measurement, subsets: int, seed: int) -> Learned:
    """The network's image, trained by the projections of the other half; stopped by the held-out counts."""
    settings = SplitLikelihoodSettings()
    pair = _pair(scan, kept, subsets, seed + 1)
    parts = subset_views(scan.model.geometry, subsets)
    network, steps = train_split_likelihood(scan.model, [pair], settings, parts=parts, held=held, seed=seed)
    of_kept = prior_mean(network, _examples(pair))
    of_all = prior_mean(network, _examples(_pair(scan, scan.data, subsets, seed)))
    return Learned(of_kept, of_all, {"steps": steps})


def deep_image_prior(scan: Scan, kept: Measurement, held: Measurement, subsets: int, seed: int) -> Learned:
    """A network fitted to the counts; it ends at the step that predicts the held-out counts best."""
    settings = DeepImagePriorSettings()
    parts = subset_views(scan.model.geometry, subsets)

    def fitted(data: Measurement, steps: int, held: Measurement | None) -> tuple[Tensor, int]:
        start = reconstruct_part(scan, data, subsets, START_ITERATIONS)
        found = fit_deep_image_prior(
            scan.model, data, start, scan.mu_per_cm, scan.crop, settings, parts=parts, steps=steps,
            seed=seed, held=held,
        )  # fmt: skip
        return found.image, found.steps

    of_kept, steps = fitted(kept, settings.steps, held)
    of_all, _ = fitted(scan.data, steps, None)
    return Learned(of_kept, of_all, {"steps": steps})


def supervised(scan: Scan, kept: Measurement, held: Measurement, subsets: int, seed: int) -> Learned:
    """The bundled network's image, with the scan's counts. ``held`` and ``seed`` are not used: nothing is
    chosen here."""
    network, digest = bundled()

    def of(data: Measurement) -> Tensor:
        image = apply_supervised(network, example_of(scan, data, subsets), data.share)
        return with_counts(scan, data, image)

    return Learned(of(kept), of(scan.data), {"weights_sha256": digest})


Method = Callable[[Scan, Measurement, Measurement, int, int], Learned]
METHODS: Mapping[str, Method] = {
    "noise2noise": noise2noise,
    "split-likelihood": split_likelihood,
    "deep-image-prior": deep_image_prior,
    "supervised": supervised,
}


def judged(
    scan: Scan,
    method: str,
    beside: Image,
    kept: Measurement,
    held: Measurement,
    subsets: int,
    seed: int,
    settings: AcceptanceSettings,
) -> tuple[Learned, Acceptance]:
    """What a method makes of a scan, and whether that may leave: judged by counts that it never saw.

    ``beside`` : MAP of the same scan, which takes its place where it may not
    """
    choosing, judging = held.split(0.5, seed + 1)
    found = METHODS[method](scan, kept, choosing, subsets, seed)
    of_kept = beside.of_kept if beside.of_kept is not None else beside.counts

    def expected(image: Tensor) -> Tensor:
        return scan.model.forward(image) + scan.data.scatter

    verdict = judge(
        judging, expected(found.of_kept), expected(of_kept),
        scan.data, expected(found.of_all), expected(beside.counts), settings,
    )  # fmt: skip
    return found, verdict


def _pair(
    scan: Scan, data: Measurement, subsets: int, seed: int
) -> tuple[tuple[Example, Measurement], tuple[Example, Measurement]]:
    """Two independent halves, each with what a network sees of it."""
    one, two = data.split(0.5, seed)
    return (example_of(scan, one, subsets), one), (example_of(scan, two, subsets), two)


def _examples(pair: tuple[tuple[Example, Measurement], tuple[Example, Measurement]]) -> Sequence[Example]:
    return [example for example, _ in pair]


def with_counts(scan: Scan, data: Measurement, image: Tensor) -> Tensor:
    """The image scaled so that its projections hold the primary counts of ``data``."""
    modelled = data.share * scan.model.forward(image).sum(dtype=torch.float64)
    return image * float((data.counts - data.additive).sum(dtype=torch.float64) / modelled)
