"""The uncertainty budget against numerical experiments and hand-worked numbers."""

from __future__ import annotations

from math import log, pi, sqrt

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from dicomnode.errors import OutOfDomain
from dicomnode.model import LabelMap
from dicomnode.tia import RecoveryCurve, TiaSettings, UncertaintySettings, integrate_points
from dicomnode.tia.uncertainty import (
    FWHM_PER_SIGMA,
    contour_relative,
    edge_fraction,
    recovery_at,
    volume_relative,
)

SPHERES = RecoveryCurve(
    volume_ml=(1, 10, 100),
    coefficient=(0.3, 0.6, 0.9),
    relative_uncertainty=0.04,
    source="made up for this test",
)


def test_volume_uncertainty_by_hand():
    """Sphere of 30 mm (14.137 mL), voxel 4 mm, FWHM 10 mm: u(d)^2 = 16/6 + 100/(4 ln 2) = 38.734 mm2,
    u(d) = 6.2237, u(v)/v = 3 x 6.2237 / 30 = 0.6224."""
    assert volume_relative(pi / 6 * 27.0, 4.0, 10.0) == pytest.approx(0.6224, abs=1e-4)


@pytest.mark.parametrize("radius_mm", [8.0, 15.0, 30.0])
def test_edge_density_of_a_blurred_sphere(radius_mm):
    """phi/2 against a sphere blurred on a 1 mm grid, read at its edge along the axes."""
    n = int(radius_mm) + 30
    axis = np.arange(-n, n + 1.0)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    sphere = (np.sqrt(x**2 + y**2 + z**2) <= radius_mm).astype(np.float32)
    blurred = gaussian_filter(sphere, 12.0 / FWHM_PER_SIGMA, truncate=5)
    at_edge = float(np.interp(radius_mm, axis, blurred[n, n]))
    volume_ml = float(sphere.sum()) / 1000
    assert edge_fraction(volume_ml, 12.0) / 2 == pytest.approx(at_edge, abs=0.02)


def test_a_larger_contour_gains_counts_and_recovery():
    """dA/A from a contour 1 % larger, worked through counts and recovery, equals the budget's factor."""
    r, slope = recovery_at(SPHERES, 30.0, "lesion")
    assert r == pytest.approx(0.6 + 0.3 * log(3) / log(10))
    r_up, _ = recovery_at(SPHERES, 30.3, "lesion")
    assert (r_up / r - 1) == pytest.approx(slope * log(1.01), rel=0.01)
    factor = contour_relative(30.0, 4.0, r, slope, UncertaintySettings()) / volume_relative(30.0, 4.0, 2.0)
    assert factor == pytest.approx(abs(edge_fraction(30.0, 12.0) / (2 * r) - slope))


def test_recovery_is_not_extrapolated_below_the_smallest_sphere():
    with pytest.raises(OutOfDomain, match=r"volume of region 'node' is 0\.50 mL; valid: at least 1 mL"):
        recovery_at(SPHERES, 0.5, "node")
    assert recovery_at(SPHERES, 500.0, "liver") == (0.9, 0.0)


def test_a_recovery_curve_must_increase_in_volume():
    with pytest.raises(ValidationError, match="volume_ml must be positive and increasing"):
        RecoveryCurve(volume_ml=(10, 1), coefficient=(0.3, 0.6), source="x")


def test_the_budget_adds_up_and_recovery_is_applied_and_told(lu177, make_points):
    """27 mL at R = 0.6 + 0.3 ln 2.7 / ln 10 = 0.7294: region, map and finding all carry the factor."""
    hours = (4.0, 24.0, 72.0, 168.0)
    volumes = [np.full((5, 5, 5), 1e6 * 2 ** (-t / 60)) for t in hours]
    points = make_points(hours, volumes)
    mask = np.zeros((5, 5, 5), bool)
    mask[1:4, 1:4, 1:4] = True
    regions = LabelMap(points[0].activity.grid, {"lesion": mask})
    plain = integrate_points(points, regions, lu177, TiaSettings(method="mono-exponential"))
    told = integrate_points(points, regions, lu177, TiaSettings(method="mono-exponential", recovery=SPHERES))
    factor = 1 / 0.72942
    assert told.regions[0].tia_mbq_s / plain.regions[0].tia_mbq_s == pytest.approx(factor, rel=1e-4)
    ratio = told.tia.mbq_s_per_ml / plain.tia.mbq_s_per_ml
    assert ratio[mask] == pytest.approx(factor, rel=1e-4)
    assert ratio[~mask] == pytest.approx(1.0)
    lesion = told.regions[0]
    assert set(lesion.budget) == {"counts", "fit", "model", "calibration", "recovery", "contour"}
    assert lesion.budget["recovery"] == 0.04
    total = sqrt(sum(b**2 for b in lesion.budget.values()))
    assert lesion.sigma_tia_mbq_s == pytest.approx(total * lesion.tia_mbq_s)
    assert "recovery" not in plain.regions[0].budget
    finding = next(f for f in told.findings if f.rule == "tia-recovery")
    assert finding.source == "made up for this test"
    assert not [f for f in plain.findings if f.rule == "tia-recovery"]


def test_voxel_fits_carry_the_uncertainty_of_calibration_and_recovery(lu177, make_points):
    """2e12 counts a voxel and 1e-6 by time point leave 6 % of calibration, and with it 4 % of recovery:
    sqrt(0.06^2 + 0.04^2) = 0.0721 in the lesion."""
    volumes = [np.full((5, 5, 5), 1e6 * 2 ** (-t / 60)) for t in (4.0, 24.0, 72.0, 168.0)]
    points = make_points((4.0, 24.0, 72.0, 168.0), volumes)
    mask = np.zeros((5, 5, 5), bool)
    mask[1:4, 1:4, 1:4] = True
    u = UncertaintySettings(time_point_relative=1e-6, sensitivity_cps_per_mbq=1e9)
    settings = TiaSettings(method="voxel-mono-exponential", recovery=SPHERES, uncertainty=u)
    fit = integrate_points(points, LabelMap(points[0].activity.grid, {"lesion": mask}), lu177, settings)
    relative = fit.sigma.mbq_s_per_ml / fit.tia.mbq_s_per_ml
    assert relative[mask] == pytest.approx(0.0721, rel=1e-3)
    assert relative[~mask] == pytest.approx(0.06, rel=1e-3)


@pytest.mark.parametrize("draws", [80, pytest.param(400, marks=pytest.mark.long)])
def test_the_whole_budget_covers_simulated_measurements(lu177, make_points, draws):
    """Simulated cycles with calibration errors of 6 % (shared) and 5 % per scan: its own 68 % interval
    holds the truth as often, within three standard errors; its budget has no other
    active part (2 L organ, contour set aside)."""
    rng, hours = np.random.default_rng(8), (4.0, 24.0, 72.0, 168.0)
    rate, inside = log(2) / 60, 0
    for _ in range(draws):
        shared = 1 + rng.normal(0, 0.06)
        scans = [1e6 * np.exp(-rate * t) * shared * (1 + rng.normal(0, 0.05)) for t in hours]
        points = make_points(hours, [np.full((2, 1, 1), s) for s in scans], spacing_mm=100.0)
        organ = integrate_points(points, None, lu177, TiaSettings(method="mono-exponential")).regions[-1]
        inside += abs(organ.tia_mbq_s / 3600 - 2000 / rate) < organ.sigma_tia_mbq_s / 3600
    assert inside / draws == pytest.approx(0.683, abs=3 * np.sqrt(0.683 * 0.317 / draws))
