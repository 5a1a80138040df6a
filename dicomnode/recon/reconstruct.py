"""From projections to activity: the whole way on one page.

scan  = prepare(...)                      model, counts, scatter, live times        (scan)
kept, held = four fifths and one fifth of the counts, at random                     (measurement)
  (the fifth again in two for a learned method: what it chooses by never judges it)
beside = OSEM as the protocol states it                                             (selection)
image = the protocol's algorithm; automatic choices by the held-out counts          (selection, learned)
a learned image stays only if this scan's own counts prefer it, else MAP            (acceptance)
again and again from resampled counts: the uncertainty                              (bootstrap)
counts -> Bq/mL by the calibration record of this camera and protocol               (calibration)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dicomnode.errors import Inconsistent
from dicomnode.model import ActivityMap, CountingNoise, Finding, Grid, Severity
from dicomnode.model.projections import Projections
from dicomnode.recon.algorithms.bootstrap import CountingUncertainty, bootstrap
from dicomnode.recon.algorithms.measurement import Measurement
from dicomnode.recon.calibration.record import SpectCalibration, age_findings
from dicomnode.recon.camera.attenuation import AttenuationMap
from dicomnode.recon.camera.collimator import Collimator
from dicomnode.recon.camera.scatter import scatter_counts
from dicomnode.recon.learned.acceptance import Acceptance, AcceptanceSettings, residual_z
from dicomnode.recon.learned.judged import judged
from dicomnode.recon.protocol import LEARNED, Protocol
from dicomnode.recon.recovery import local_recovery
from dicomnode.recon.scan import Scan, prepare
from dicomnode.recon.selection import KEPT, Image, penalised, reference, score, stopped

Float32 = npt.NDArray[np.float32]

COUNTS_KEPT = 0.02
"""Projections of an image that hold the counts of the scan worse than this are told; our own choice."""
RADIUS_MM = 30.0
"""Mean radii of scan and calibration that differ by more change the resolution visibly; our own choice."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An image and everything that a person needs to judge it.

    Attributes
    ----------
    grid : Grid
    counts : float32 (z, y, x), counts per voxel towards a mean view
    reference : OSEM of the same protocol, same unit, always kept beside
    bq_per_count : what makes Bq/mL at the start of the acquisition of them; None without a calibration record
    algorithm : what was used in the end, which is "bsrem" where a learned method was refused
    method : the same in words
    protocol : digest of the protocol
    calibration : name of the record, empty without one
    parameters : every choice by name
    scores : log likelihoods and residuals by name
    uncertainty : by counting noise, per voxel and per region, same unit as ``counts``; None without
        bootstraps
    recovery : region -> coefficient, by the record's curve or by an insert; not applied to ``counts``;
        empty for a learned image
    findings : what is doubtful
    """

    grid: Grid
    counts: Float32
    reference: Float32
    bq_per_count: float | None
    algorithm: str
    method: str
    protocol: str
    calibration: str
    parameters: Mapping[str, float | str]
    scores: Mapping[str, float]
    uncertainty: CountingUncertainty | None
    recovery: Mapping[str, float]
    findings: tuple[Finding, ...]

    @cached_property
    def activity(self) -> ActivityMap:
        """Bq/mL at the start of the acquisition, with its noise by counting where that was found.

        Raises Inconsistent without a calibration record.
        """
        return ActivityMap(self.grid, self.counts * self._factor, self.counting)

    @property
    def reference_activity(self) -> ActivityMap:
        """The same of OSEM."""
        return ActivityMap(self.grid, self.reference * self._factor)

    @cached_property
    def counting(self) -> CountingNoise | None:
        """Noise by counting, Bq/mL; None without bootstraps."""
        if self.uncertainty is None:
            return None
        return CountingNoise.of(self.grid, self.uncertainty.replicates).scaled(self._factor)

    @property
    def _factor(self) -> float:
        if self.bq_per_count is None:
            raise Inconsistent("the image holds counts: no calibration record was given")
        return self.bq_per_count


def reconstruct(
    projections: Projections,
    attenuation: AttenuationMap | None,
    protocol: Protocol,
    collimator: Collimator,
    calibration: SpectCalibration | None = None,
    *,
    seed: int = 0,
    regions: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    acceptance: AcceptanceSettings | None = None,
) -> Reconstruction:
    """The image of a scan by a protocol. Same arguments and seed, same bytes.

    Parameters
    ----------
    attenuation : on the grid of the projections; None only where the protocol models none
    calibration : the record of this camera and protocol (``calibration.choose``); None gives counts only
    regions : name -> mask (z, y, x), for the covariance of their means and for their recovery

    Raises
    ------
    Refused : as ``scan.prepare``
    OutOfDomain : a count rate that the record's dead time cannot have; an empty scan
    """
    scan = prepare(projections, attenuation, protocol, collimator, calibration)
    kept, held = scan.data.split(KEPT, seed)
    beside = reference(scan, protocol)
    image, algorithm, verdict = _image(scan, protocol, beside, kept, held, seed, acceptance)
    findings = (
        *scan.findings,
        *_about(projections, scan, image, protocol, calibration),
        *_not_stated(projections, protocol, algorithm, regions or {}),
        *(verdict.findings(protocol.algorithm) if verdict else ()),
    )
    return Reconstruction(
        grid=projections.grid,
        counts=image.counts.numpy(),
        reference=beside.counts.numpy(),
        bq_per_count=_bq_per_count(scan, projections.grid, calibration),
        algorithm=algorithm,
        method=protocol.sentence(algorithm, scan.scatter.method),
        protocol=protocol.digest(projections.grid),
        calibration=calibration.name if calibration else "",
        parameters={"scatter": str(scan.scatter.method), **image.parameters},
        scores=_scores(scan, image, held, verdict),
        uncertainty=_uncertainty(projections, scan, image, protocol, regions, seed),
        recovery={} if algorithm in LEARNED else _recovery(scan, image, protocol, calibration, regions or {}),
        findings=findings,
    )


def _image(
    scan: Scan,
    protocol: Protocol,
    beside: Image,
    kept: Measurement,
    held: Measurement,
    seed: int,
    acceptance: AcceptanceSettings | None,
) -> tuple[Image, str, Acceptance | None]:
    """The protocol's image, or MAP where a learned one is refused; the algorithm; the judgement."""
    if protocol.algorithm in ("osem", "mlem"):
        chosen = stopped(scan, protocol, kept, held) if protocol.stop == "held-out" else beside
        return chosen, protocol.algorithm, None
    if protocol.algorithm not in LEARNED:
        return penalised(scan, protocol, protocol.algorithm, kept, held), protocol.algorithm, None
    fallback = penalised(scan, protocol, "bsrem", kept, held)
    learned, verdict = judged(
        scan, protocol.algorithm, fallback, kept, held, protocol.subsets, seed,
        acceptance or AcceptanceSettings(),
    )  # fmt: skip
    if not verdict.released:
        return fallback, "bsrem", verdict
    # The noise of a learned image cannot be had by repeating it in reasonable time: OSEM's stands for it.
    parameters = {**learned.parameters, "uncertainty_of": "osem"}
    made = Image(learned.of_all, beside.repeat, parameters, learned.of_kept)
    return made, protocol.algorithm, verdict


def _expected(scan: Scan, image: Tensor) -> Tensor:
    return scan.model.forward(image) + scan.data.scatter


def _bq_per_count(scan: Scan, grid: Grid, calibration: SpectCalibration | None) -> float | None:
    if calibration is None:
        return None
    return 1e6 / (scan.seconds * calibration.cps_per_mbq * grid.voxel_ml)


def _scores(scan: Scan, image: Image, held: Measurement, verdict: Acceptance | None) -> dict[str, float]:
    expected = _expected(scan, image.counts)
    z = residual_z(scan.data.counts, expected, AcceptanceSettings().residual_sigma_pixels)
    scores = {
        "counts_over_modelled": float(scan.data.counts.sum() / expected.sum()),
        "largest_residual_z": float(z.max()),
        "smallest_residual_z": float(z.min()),
    }
    if image.of_kept is not None:
        scores["held_out_log_likelihood"] = score(scan, image.of_kept, held)
    if verdict is not None:
        scores["gain_over_map"] = verdict.likelihood_gain
        scores["gain_over_map_error"] = verdict.likelihood_error
    return scores


def _about(
    projections: Projections,
    scan: Scan,
    image: Image,
    protocol: Protocol,
    calibration: SpectCalibration | None,
) -> list[Finding]:
    """Findings about what the numbers can be used for."""
    found = []
    ratio = float(scan.data.counts.sum() / _expected(scan, image.counts).sum())
    if abs(ratio - 1) > COUNTS_KEPT:
        found.append(_warning("recon-counts", f"the image accounts for {1 / ratio:.3f} of the counts; check "
                              f"scatter windows and attenuation", 1 / ratio, COUNTS_KEPT))  # fmt: skip
    if not protocol.quantitative or str(scan.scatter.method) == "none":
        found.append(_warning("recon-not-quantitative", "attenuation or scatter is not corrected: the values "
                              "are no activity; use them to look at only"))  # fmt: skip
    if calibration is None:
        return found
    found += age_findings(calibration, projections)
    radius = float(projections.radius_mm.mean())
    if abs(radius - calibration.radius_mm) > RADIUS_MM:
        found.append(_warning("recon-radius", f"the mean radius of rotation is {radius:.0f} mm, the "
                              f"calibration's {calibration.radius_mm:.0f} mm: recovery coefficients of the "
                              f"record do not apply", radius, calibration.radius_mm))  # fmt: skip
    if protocol.automatic and calibration.recovery_ml is not None:
        found.append(_warning("recon-recovery-follows-counts", "the protocol chooses its resolution by the "
                              "counts of the scan, so the record's recovery curve does not apply; recovery "
                              "is measured by a region inserted in the projections"))  # fmt: skip
    return found


def _not_stated(
    projections: Projections, protocol: Protocol, algorithm: str, regions: Mapping[str, object]
) -> list[Finding]:
    """What was asked for and cannot be had: silence would read as none needed."""
    found = []
    if protocol.bootstraps and not projections.raw:
        sentence = (
            "the counts were scaled or corrected before they came, so they cannot be drawn anew: the image "
            "has no uncertainty; send raw counts"
        )
        found.append(_warning("recon-no-uncertainty", sentence))
    if algorithm in LEARNED and regions:
        sentence = (
            "the recovery of a learned image cannot be measured by repeating it: take regions from the OSEM "
            "image beside it"
        )
        found.append(_warning("recon-no-recovery", sentence))
    return found


def _warning(rule: str, sentence: str, measured: float | None = None, limit: float | None = None) -> Finding:
    return Finding(rule, Severity.WARNING, sentence, measured, limit, source="our own choice")


def _uncertainty(
    projections: Projections,
    scan: Scan,
    image: Image,
    protocol: Protocol,
    regions: Mapping[str, npt.NDArray[np.bool_]] | None,
    seed: int,
) -> CountingUncertainty | None:
    """Of the whole chain: all windows are drawn anew, scatter is estimated from them, choices stay."""
    if protocol.bootstraps == 0 or not projections.raw:
        return None

    def again(counts: npt.NDArray[np.int32]) -> Float32:
        scatter = scatter_counts(counts, scan.scatter.weights, protocol.scatter.smoothing_pixels)
        peak = torch.from_numpy(counts[projections.peak].astype(np.float32))
        return np.asarray(image.repeat(Measurement(peak, torch.from_numpy(scatter))).numpy())

    return bootstrap(again, projections.counts, replicates=protocol.bootstraps, seed=seed, regions=regions)


def _recovery(
    scan: Scan,
    image: Image,
    protocol: Protocol,
    calibration: SpectCalibration | None,
    regions: Mapping[str, npt.NDArray[np.bool_]],
) -> dict[str, float]:
    """By the record's curve where the resolution is always the same, else by an insert in the projections."""
    curve = calibration.recovery if calibration else None
    if curve is None or protocol.automatic:
        return {name: local_recovery(scan, image, mask).coefficient for name, mask in regions.items()}
    voxel_ml = float(np.prod(scan.voxel_mm)) / 1000.0
    return {name: float(curve.at(float(mask.sum()) * voxel_ml)) for name, mask in regions.items()}
