"""Whether an image of a learned method may leave: judged by this scan's own counts, without any truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from dicomnode.model import Finding, Settings, Severity
from dicomnode.recon.algorithms.held_out import held_out_score
from dicomnode.recon.algorithms.measurement import Measurement
from dicomnode.recon.camera.scatter import exposed_field

SOURCE = "our own choice"


class AcceptanceSettings(Settings):
    """Limits; all are our own choice."""

    likelihood_sigma: float = Field(
        2.0, ge=0, description="held-out counts must prefer it to MAP by more than this many standard errors"
    )
    counts_tolerance: float = Field(
        0.01, gt=0, lt=1, description="its projections must hold the measured counts within this fraction"
    )
    residual_z: float = Field(
        4.0, gt=0, description="largest smoothed residual of the projections, standard deviations"
    )
    residual_sigma_pixels: float = Field(
        2.0, gt=0, description="standard deviation of that smoothing, along both detector axes and the views"
    )


@dataclass(frozen=True)
class Acceptance:
    """What was measured, and the reasons against it.

    Attributes
    ----------
    likelihood_gain, likelihood_error : held-out log likelihood above MAP's, and its standard error
    counts_ratio : measured over modelled counts
    largest_residual_z, smallest_residual_z : of the smoothed residuals; a large positive one is activity
        that the image lacks, a large negative one activity that it invents
    chi_square : mean squared Pearson residual of bins with five counts or more, near 1
    reasons : sentences; empty where it is released
    """

    likelihood_gain: float
    likelihood_error: float
    counts_ratio: float
    largest_residual_z: float
    smallest_residual_z: float
    chi_square: float
    reasons: tuple[str, ...]

    @property
    def released(self) -> bool:
        return not self.reasons

    def findings(self, algorithm: str) -> tuple[Finding, ...]:
        """One note where it is released; one warning for each reason where it fell back."""
        if self.released:
            sentence = (
                f"{algorithm} predicts held-out counts better than MAP by {self.likelihood_gain:.1f} +- "
                f"{self.likelihood_error:.1f} and keeps the counts; a research image, compare it with OSEM"
            )
            return (Finding("recon-learned-released", Severity.NOTE, sentence, source=SOURCE),)
        return tuple(
            Finding(
                "recon-learned-refused",
                Severity.WARNING,
                f"{algorithm} was not used, MAP with the relative difference prior takes its place: {reason}",
                source=SOURCE,
            )
            for reason in self.reasons
        )


def judge(
    held: Measurement,
    candidate_held: Tensor,
    map_held: Tensor,
    whole: Measurement,
    candidate: Tensor,
    map_whole: Tensor,
    settings: AcceptanceSettings,
) -> Acceptance:
    """Judge an image by its expectations A x + s.

    Parameters
    ----------
    held : counts kept aside
    candidate_held, map_held : expectations of the learned and of the MAP image, both made without ``held``
    whole : all counts
    candidate, map_whole : expectations of the images made from all counts, one of which leaves

    Residuals count against the learned image only where MAP does not show them as well (within one standard
    deviation): what the camera's model gets wrong is not the network's invention.
    """
    found = held_out_score(held.share * candidate_held, held.share * map_held, held.counts)
    gain, error = found.gain, found.sigma
    ratio = float(whole.counts.sum() / candidate.sum())
    z = residual_z(whole.counts, candidate, settings.residual_sigma_pixels)
    largest, smallest = float(z.max()), float(z.min())
    beside = residual_z(whole.counts, map_whole, settings.residual_sigma_pixels)
    above = max(settings.residual_z, float(beside.max()) + 1)
    below = max(settings.residual_z, 1 - float(beside.min()))
    reasons = []
    if not gain > settings.likelihood_sigma * error:
        reasons.append(
            f"held-out counts do not prefer it (log likelihood {gain:+.1f} +- {error:.1f} against MAP, "
            f"needed above {settings.likelihood_sigma:g} standard errors)"
        )
    if not bool(candidate.isfinite().all()):
        reasons.append("it is not finite everywhere")
    if abs(ratio - 1.0) > settings.counts_tolerance:
        reasons.append(f"its projections hold {1 / ratio:.3f} of the measured counts")
    if largest > above:
        reasons.append(f"activity is missing: projections exceed it by {largest:.1f} standard deviations")
    if -smallest > below:
        reasons.append(f"activity is invented: it exceeds projections by {-smallest:.1f} standard deviations")
    chi = _chi_square(whole.counts, candidate)
    return Acceptance(gain, error, ratio, largest, smallest, chi, tuple(reasons))


def residual_z(counts: Tensor, expected: Tensor, sigma: float) -> Tensor:
    """Smoothed residual over its standard deviation, per bin: G*(y - m) / sqrt(G^2 * m).

    Views are taken as a circle. ``counts`` and ``expected``: (views, axial, transaxial). Bins where less
    than ten counts are expected under the smoothing are 0: their sum is not Gaussian. So are bins outside the
    exposed field of the detector, where the image lets expect counts that could not be measured.
    """
    inside = torch.zeros_like(expected)
    rows, bins_across = exposed_field(counts.sum(dim=0).numpy())
    inside[:, rows, bins_across] = 1.0
    expected = expected * inside
    reach = int(3 * sigma)
    bins = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (bins / sigma) ** 2)
    kernel = kernel / kernel.sum()
    variance = _smooth(expected, kernel**2)
    effective = _smooth(expected, kernel) / float((kernel**2).sum() ** 3)
    z = _smooth(counts - expected, kernel) / variance.clamp_min(1e-12).sqrt()
    return torch.where((effective > 10.0) & (inside > 0), z, torch.zeros_like(z))


def _smooth(values: Tensor, kernel: Tensor) -> Tensor:
    reach, out = len(kernel) // 2, values[None, None]
    modes: tuple[Literal["circular", "constant"], ...] = ("circular", "constant", "constant")
    for axis, mode in enumerate(modes):
        pad = [0] * 6
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = reach
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = -1
        out = functional.conv3d(functional.pad(out, pad, mode=mode), kernel.reshape(shape))
    return out[0, 0]


def _chi_square(counts: Tensor, expected: Tensor) -> float:
    enough = expected >= 5.0
    if not enough.any():
        return 1.0
    pearson = (counts - expected)[enough] ** 2 / expected[enough]
    return float(pearson.double().mean())
