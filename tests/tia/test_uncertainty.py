"""The uncertainty budget against numerical experiments and hand-worked numbers."""

from __future__ import annotations

from math import log, pi, sqrt

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from dicomnode.model import LabelMap, RegionRecovery
from dicomnode.tia import TiaSettings, UncertaintySettings, integrate_points
from dicomnode.tia.uncertainty import (
    FWHM_PER_SIGMA,
    contour_of_dose,
    contour_relative,
    edge_fraction,
    volume_relative,
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


def test_a_larger_contour_gains_counts_and_mass():
    """A sphere of 4 mL drawn 1 % too large in its blurred image: activity and mean dose change as stated."""
    axis = np.arange(-34, 35.0)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    distance = np.sqrt(x**2 + y**2 + z**2)
    radius = (3 * 4000 / 4 / pi) ** (1 / 3)
    share = np.clip(radius - distance + 0.5, 0, 1)
    image = gaussian_filter(share, 12.0 / FWHM_PER_SIGMA, truncate=5)
    drawn = [np.clip(radius * f - distance + 0.5, 0, 1) for f in (0.99, 1.01)]
    counts = [float((image * d).sum()) for d in drawn]
    volume = [float(d.sum()) for d in drawn]
    by_volume = log(volume[1] / volume[0])
    # Gear's phi/(2 R): of an uncorrected activity the budget takes R = 1, its lower end.
    recovery = float((image * share).sum() / share.sum())
    u = UncertaintySettings()
    stated = contour_relative(4.0, 4.0, u) / volume_relative(4.0, 4.0, 2.0) / recovery
    assert log(counts[1] / counts[0]) / by_volume == pytest.approx(stated, rel=0.05)
    assert contour_of_dose(4.0, 4.0, u) > contour_relative(4.0, 4.0, u)


def test_a_curve_of_spheres_is_refused_with_the_place_where_widths_go():
    with pytest.raises(ValidationError, match=r"state the width of the images under \[\[recovery.widths\]\]"):
        TiaSettings.model_validate({"recovery": {"volume_ml": [1, 10]}})


LESION = RegionRecovery(
    "lesion", (1.0,) * 4, (1.6, 1.4, 1.0, 0.5),
    {"width": 0.03, "contour": 0.12, "shift": 0.02, "model": 0.015},
    loss=-0.01, volume_ml=27.0, bias=0.3,
)  # fmt: skip


def test_a_recovered_region_follows_its_corrected_activities(lu177, make_points):
    """sqrt(0.03^2 + 0.02^2 + 0.015^2 + 0.01^2) = 0.0403 of recovery; the contour is that of the dose."""
    hours = (4.0, 24.0, 72.0, 168.0)
    points = make_points(hours, [np.full((5, 5, 5), 1e6 * 2 ** (-t / 60)) for t in hours])
    mask = np.zeros((5, 5, 5), bool)
    mask[1:4, 1:4, 1:4] = True
    regions = LabelMap(points[0].activity.grid, {"lesion": mask})
    settings = TiaSettings(method="mono-exponential")
    plain = integrate_points(points, regions, lu177, settings).regions[0]
    lesion = integrate_points(points, regions, lu177, settings, recovered={"lesion": LESION}).regions[0]
    assert lesion.activity_mbq == LESION.corrected_mbq
    assert set(lesion.budget) == {"counts", "fit", "model", "calibration", "recovery", "contour"}
    assert lesion.budget["recovery"] == pytest.approx(0.0403, abs=1e-4)
    assert lesion.budget["contour"] == lesion.dose_contour == 0.12
    assert lesion.relative_of_dose == pytest.approx(lesion.sigma_tia_mbq_s / lesion.tia_mbq_s)
    assert "recovery" not in plain.budget
    rest = sqrt(sum(b**2 for part, b in plain.budget.items() if part != "contour"))
    assert plain.relative_of_dose == pytest.approx(sqrt(rest**2 + plain.dose_contour**2))


def test_voxel_fits_carry_the_uncertainty_of_calibration_and_recovery(lu177, make_points):
    """2e12 counts a voxel and 1e-6 by time point leave 6 % of calibration, and with it 4.03 % of recovery:
    sqrt(0.06^2 + 0.0403^2) = 0.0723 in the lesion."""
    volumes = [np.full((5, 5, 5), 1e6 * 2 ** (-t / 60)) for t in (4.0, 24.0, 72.0, 168.0)]
    points = make_points((4.0, 24.0, 72.0, 168.0), volumes)
    mask = np.zeros((5, 5, 5), bool)
    mask[1:4, 1:4, 1:4] = True
    u = UncertaintySettings(time_point_relative=1e-6, sensitivity_cps_per_mbq=1e9)
    settings = TiaSettings(method="voxel-mono-exponential", uncertainty=u)
    regions = LabelMap(points[0].activity.grid, {"lesion": mask})
    fit = integrate_points(points, regions, lu177, settings, recovered={"lesion": LESION})
    relative = fit.sigma.mbq_s_per_ml / fit.tia.mbq_s_per_ml
    assert relative[mask] == pytest.approx(0.0723, rel=2e-3)
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
