"""Iterative reconstruction: MLEM, OSEM, one-step-late MAP, BSREM, and MAP around a given image.

All take raw counts y with the scatter estimate s as an addend of the model, y ~ Poisson(A x + s), and give x
in counts emitted per voxel towards one view. Every algorithm is also an endless iterator over its updates,
for stopping rules and for networks that look at images on the way.

- MLEM (Shepp, Vardi 1982), OSEM (Hudson, Larkin 1994): x <- x A_m'(y / (A_m x + s)) / A_m'1.
- OSL (Green 1990): the gradient of a quadratic penalty at the last image is added to the denominator.
- BSREM (De Pierro, Yamagishi 2001; Ahn, Fessler 2003): scaled gradient steps over subsets with a relaxation
  that falls, so that it settles at the penalised maximum; here with the relative difference prior and
  momentum.
- MAP around a given image: the EM surrogate of a subset and a quadratic prior around that image are maximised
  together in closed form (the first sub-problem of Gong et al., IEEE TMI 38:1655, 2019).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from math import sqrt

import torch
from torch import Tensor

from dicomnode.errors import OutOfDomain
from dicomnode.recon.algorithms.priors import face_weights, quadratic_gradient, relative_difference_gradient
from dicomnode.recon.camera.model import Geometry, SystemModel, Views

FLOOR = 1e-3
"""Least expected count of a bin over the mean count of all bins: bounds ratios where nothing is expected."""
GAMMA = 2.0
"""Edge preservation of the relative difference prior; 2 is what clinical PET reconstruction uses."""
EPSILON = 0.01
"""Smoothing of that prior near zero, relative to the image's activity-weighted mean. Our own choice."""
RELAXATION = 0.2
MOMENTUM = 0.7
"""BSREM: step 1 / (1 + RELAXATION * pass), and the largest part of the last change that is carried on. Our
own choice among eight pairs on scans of 4e3 to 9e5 counts: of the climb from OSEM to the penalised maximum 1
to 12 % are left after 100 updates (above 3e4 counts), without momentum 5 to 25 %; momentum 0.9 with 0.1 is
faster yet, but falls back down where the prior is weak and counts are few."""
SHRINK = 0.1
"""No update makes a voxel smaller than this part of itself (BSREM), or its denominator (OSL)."""


def subset_views(geometry: Geometry, subsets: int) -> tuple[tuple[int, ...], ...]:
    """Views dealt out by angle, so that each subset goes round the patient. Raises OutOfDomain."""
    if not 1 <= subsets <= geometry.views:
        raise OutOfDomain("number of subsets", subsets, "", f"1 to the number of views, {geometry.views}")
    by_angle = sorted(range(geometry.views), key=lambda view: (geometry.angle_deg[view] % 360.0, view))
    return tuple(tuple(by_angle[first::subsets]) for first in range(subsets))


def mlem(
    model: SystemModel, counts: Tensor, scatter: Tensor, *, iterations: int, start: Tensor | None = None
) -> Tensor:
    """Maximum likelihood by expectation maximisation: OSEM with one subset."""
    return osem(model, counts, scatter, subsets=1, iterations=iterations, start=start)


def osem(
    model: SystemModel,
    counts: Tensor,
    scatter: Tensor,
    *,
    subsets: int,
    iterations: int,
    start: Tensor | None = None,
) -> Tensor:
    """Ordered subsets expectation maximisation.

    Parameters
    ----------
    model : the camera
    counts : float32 (views, axial, transaxial), raw counts of the peak window
    scatter : same shape, expected scattered counts in it
    subsets, iterations : parts of the views; passes through all of them
    start : image to begin with; None a uniform one with the right number of counts

    Returns
    -------
    float32 (z, y, x), counts per voxel and view
    """
    return _after(osem_updates(model, counts, scatter, subsets=subsets, start=start), subsets * iterations)


def osem_updates(
    model: SystemModel, counts: Tensor, scatter: Tensor, *, subsets: int, start: Tensor | None = None
) -> Iterator[Tensor]:
    """The image after each update of OSEM, without end."""
    image = uniform_start(model, counts, scatter) if start is None else start.clone()
    floor = _floor(counts)
    parts = subset_views(model.geometry, subsets)
    while True:
        for views in parts:
            ratio = counts[list(views)] / _expected(model, image, scatter, views).clamp_(min=floor)
            image = image * _over(model.adjoint(ratio, views), model.sensitivity(views))
            yield image


def osl(
    model: SystemModel,
    counts: Tensor,
    scatter: Tensor,
    *,
    beta: float,
    subsets: int,
    iterations: int,
    start: Tensor | None = None,
) -> Tensor:
    """MAP with a quadratic penalty by Green's one-step-late rule, over subsets.

    ``beta`` is the penalty's weight relative to the mean sensitivity at the image's activity-weighted mean
    (our own scaling: it makes beta a pure number). Other parameters as ``osem``.
    """
    updates = osl_updates(model, counts, scatter, beta=beta, subsets=subsets, start=start)
    return _after(updates, subsets * iterations)


def osl_updates(
    model: SystemModel,
    counts: Tensor,
    scatter: Tensor,
    *,
    beta: float,
    subsets: int,
    start: Tensor | None = None,
) -> Iterator[Tensor]:
    """The image after each update of OSL, without end."""
    image = begin(model, counts, scatter, subsets) if start is None else start.clone()
    floor, weights = _floor(counts), face_weights(model.geometry)
    strength = beta * mean_sensitivity(model, image) / (subsets * weighted_mean(image))
    parts = subset_views(model.geometry, subsets)
    while True:
        for views in parts:
            ratio = counts[list(views)] / _expected(model, image, scatter, views).clamp_(min=floor)
            sensitivity = model.sensitivity(views)
            late = sensitivity + strength * quadratic_gradient(image, weights)
            denominator = torch.maximum(late, SHRINK * sensitivity)
            image = image * _over(model.adjoint(ratio, views), denominator)
            yield image


def bsrem(
    model: SystemModel,
    counts: Tensor,
    scatter: Tensor,
    *,
    beta: float,
    subsets: int,
    iterations: int,
    gamma: float = GAMMA,
    start: Tensor | None = None,
) -> Tensor:
    """MAP with the relative difference prior by block-sequential regularised EM.

    ``beta`` is the prior's weight relative to the mean sensitivity, a pure number. Other parameters as
    ``osem``; ``start`` None is two passes of OSEM.
    """
    updates = bsrem_updates(model, counts, scatter, beta=beta, subsets=subsets, gamma=gamma, start=start)
    return _after(updates, subsets * iterations)


def bsrem_updates(
    model: SystemModel,
    counts: Tensor,
    scatter: Tensor,
    *,
    beta: float,
    subsets: int,
    gamma: float = GAMMA,
    start: Tensor | None = None,
) -> Iterator[Tensor]:
    """The image after each update of BSREM, without end.

    The step is x / (S + 2 beta S_mean) of the gradient: the prior's own curvature is x's inverse, so that
    strong priors do not overshoot. Nesterov's momentum carries changes on, up to ``MOMENTUM`` of them. Both
    are our own additions; the relaxation makes the sequence settle as in BSREM.
    """
    image = begin(model, counts, scatter, subsets) if start is None else start.clone()
    floor, weights = _floor(counts), face_weights(model.geometry)
    epsilon = EPSILON * weighted_mean(image)
    strength = beta * mean_sensitivity(model, image)
    whole = model.sensitivity()
    scale = torch.where(whole > 0, 1.0 / (whole + 2 * strength), 0.0)
    parts = subset_views(model.geometry, subsets)
    ahead, last, pace = image, image, 1.0
    for update in count():
        views = parts[update % subsets]
        ratio = counts[list(views)] / _expected(model, ahead, scatter, views).clamp_(min=floor)
        uphill = subsets * (model.adjoint(ratio, views) - model.sensitivity(views))
        uphill -= strength * relative_difference_gradient(ahead, weights, gamma, epsilon)
        step = ahead * scale * uphill / (1.0 + RELAXATION * (update // subsets))
        last, image = image, torch.maximum(ahead + step, SHRINK * ahead)
        pace, before = (1.0 + sqrt(1.0 + 4.0 * pace**2)) / 2.0, pace
        carried = min((before - 1.0) / pace, MOMENTUM)
        ahead = torch.maximum(image + carried * (image - last), SHRINK * image)
        yield image


def map_around(
    model: SystemModel,
    counts: Tensor,
    scatter: Tensor,
    *,
    mean: Tensor,
    weight: float,
    subsets: int,
    iterations: int,
) -> Tensor:
    """MAP with the prior (x - f)^2 w / 2 around ``mean`` f, by ordered subsets.

    Each update solves w x^2 + (S - w f) x - S x_em = 0 in every voxel, with w = weight S_mean / (f + 0.05
    f_mean) and f_mean the mean of f where it is not zero; the image stays positive.

    Parameters
    ----------
    mean : f, as the image, of these counts
    weight : of the prior, relative to the mean sensitivity
    """
    floor, whole = _floor(counts), model.sensitivity()
    level = mean[mean > 0].mean()
    strength = weight * whole[whole > 0].mean() / (mean + 0.05 * level)
    image = mean.clamp_min(1e-6 * float(level))
    for _ in range(iterations):
        for views in subset_views(model.geometry, subsets):
            ratio = counts[list(views)] / _expected(model, image, scatter, views).clamp_(min=floor)
            by_em = image * _over(model.adjoint(ratio, views), model.sensitivity(views))
            image = _root(strength, whole - strength * mean, whole * by_em)
    return image


def _root(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The root of a x^2 + b x - c that is not negative, for a > 0 and c >= 0.

    By the one of its two forms that subtracts nothing: in a cold voxel b outweighs the rest.
    """
    root = torch.sqrt(b**2 + 4 * a * c)
    return torch.where(b > 0, 2 * c / (root + b), (root - b) / (2 * a))


def begin(model: SystemModel, counts: Tensor, scatter: Tensor, subsets: int) -> Tensor:
    """Two passes of OSEM: where the penalised algorithms start."""
    return osem(model, counts, scatter, subsets=subsets, iterations=2)


def uniform_start(model: SystemModel, counts: Tensor, scatter: Tensor) -> Tensor:
    """One value wherever a view can see, with as many expected counts as were counted beyond scatter."""
    flat = (model.sensitivity() > 0).to(torch.float32)
    seen = float((model.sensitivity() * flat).sum(dtype=torch.float64))
    primary = float((counts.double() - scatter.double()).sum())
    return flat * (max(primary, 0.01 * float(counts.sum(dtype=torch.float64))) / seen)


def mean_sensitivity(model: SystemModel, image: Tensor) -> float:
    """Sensitivity where the activity is, over all views."""
    return float((model.sensitivity() * image).sum(dtype=torch.float64) / image.sum(dtype=torch.float64))


def weighted_mean(image: Tensor) -> float:
    """The image's mean weighted by itself: what a typical count comes from, whatever air is around."""
    return float(image.double().square().sum() / image.sum(dtype=torch.float64))


def gaussian_filter(image: Tensor, geometry: Geometry, fwhm_mm: float) -> Tensor:
    """The usual filter after OSEM; counts at the borders stay inside."""
    from scipy import ndimage

    from dicomnode.recon.camera.collimator import FWHM_PER_SIGMA

    across, along = geometry.voxel_mm
    sigma = [fwhm_mm / FWHM_PER_SIGMA / edge for edge in (along, across, across)]
    smooth = ndimage.gaussian_filter(image.cpu().numpy(), sigma, mode="nearest")
    return torch.from_numpy(smooth).to(image.device)


def _expected(model: SystemModel, image: Tensor, scatter: Tensor, views: Views) -> Tensor:
    expected = model.forward(image, views)
    expected += scatter if views is None else scatter[list(views)]
    return expected


def _floor(counts: Tensor) -> float:
    """Least expected count; raises OutOfDomain for an empty scan."""
    mean = float(counts.mean(dtype=torch.float64))
    if mean <= 0:
        raise OutOfDomain("counts of the peak window", 0, "", "at least one")
    return FLOOR * mean


def _over(top: Tensor, bottom: Tensor) -> Tensor:
    """Quotient, 0 where no view sees the voxel; the fitted blur may leave -1e-5 of a peak, which is 0."""
    return torch.where(bottom > 0, top / bottom, 0.0).clamp_(min=0.0)


def _after(updates: Iterator[Tensor], number: int) -> Tensor:
    if number < 1:
        raise OutOfDomain("number of updates", number, "", "at least 1")
    return next(islice(updates, number - 1, None))
