"""The image of every method, made and judged as ``recon.reconstruct`` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dicomnode.recon.algorithms.measurement import Measurement
from dicomnode.recon.learned.acceptance import Acceptance, AcceptanceSettings
from dicomnode.recon.learned.judged import judged
from dicomnode.recon.protocol import Protocol
from dicomnode.recon.scan import Scan
from dicomnode.recon.selection import Image, penalised, reference, stopped

CLASSICAL = ("osem", "osem-filtered", "osem-stopped", "osl", "bsrem")
LEARNED = ("noise2noise", "split-likelihood", "deep-image-prior", "supervised")


@dataclass(frozen=True, eq=False)
class Made:
    """An image in counts, the same of the kept counts, what was chosen; learned ones with their judgement."""

    image: Tensor
    of_kept: Tensor | None
    parameters: Mapping[str, float | str]
    verdict: Acceptance | None = None


def map_beside(scan: Scan, kept: Measurement, held: Measurement, weight: float | None) -> Image:
    """MAP, which learned images are judged beside; its weight is chosen where none is given."""
    return penalised(scan, Protocol(algorithm="bsrem", prior_weight=weight), "bsrem", kept, held)


def made_by(
    method: str, scan: Scan, kept: Measurement, held: Measurement, seed: int, beside: Image | None
) -> Made:
    """``beside`` : MAP, for the learned methods."""
    if method in LEARNED:
        found, verdict = judged(scan, method, beside, kept, held, 10, seed, AcceptanceSettings())
        return Made(found.of_all, found.of_kept, found.parameters, verdict)
    if method == "osem":
        made = reference(scan, Protocol())
    elif method == "osem-filtered":
        made = reference(scan, Protocol(filter_fwhm_mm=8.0, iterations=5))
    elif method == "osem-stopped":
        made = stopped(scan, Protocol(stop="held-out", iterations=20), kept, held)
    else:
        made = penalised(scan, Protocol(algorithm=method), method, kept, held)
    of_kept = made.repeat(kept) if made.of_kept is None else made.of_kept
    return Made(made.counts, of_kept, made.parameters)
