"""Hole geometry and the basis of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.errors import OutOfDomain, Unsupported
from dicomnode.recon.camera.collimator import COLLIMATORS, Collimator, Response, collimator, lead_per_cm
from dicomnode.recon.camera.depth_blur import PEAK_TOLERANCE, blur_basis, blur_matrix


def test_lead_is_nist_at_its_nodes_and_between() -> None:
    """NIST gives 0.9985 cm2/g at 200 keV; XCOM's own value at 208 keV is 0.92 cm2/g."""
    assert lead_per_cm(200.0) == pytest.approx(0.9985 * 11.35)
    assert lead_per_cm(208.0) == pytest.approx(0.92 * 11.35, rel=0.01)
    with pytest.raises(OutOfDomain, match="100 to 600 keV"):
        lead_per_cm(80.0)


def test_the_slope_is_hole_over_effective_length() -> None:
    """2.94 mm holes of 40.64 mm; two mean free paths at 208.4 keV are 1.94 mm of lead."""
    me = collimator("siemens-me")
    assert me.effective_length_mm(208.4) == pytest.approx(40.64 - 1.94, abs=0.02)
    assert me.response(208.4).slope == pytest.approx(2.94 / 38.70 / 2.35482, rel=1e-3)


def test_width_grows_with_distance_and_falls_with_energy_only_through_crystal_and_lead() -> None:
    me = collimator("siemens-me")
    assert (np.diff(me.sigma_mm(np.linspace(0, 400, 9), 208.0)) > 0).all()
    assert float(me.sigma_mm(0.0, 208.0)) == pytest.approx(
        np.hypot(2.94, 3.8 * np.sqrt(140.5 / 208.0)) / 2.35482, rel=1e-4
    )
    assert float(me.sigma_mm(-30.0, 208.0)) == float(me.sigma_mm(0.0, 208.0))


def test_an_unknown_collimator_is_refused_with_the_names() -> None:
    with pytest.raises(Unsupported, match="siemens-me"):
        collimator("IQ-SPECT")
    assert all(one.source for one in COLLIMATORS.values())


def test_an_impossible_response_is_refused() -> None:
    with pytest.raises(OutOfDomain):
        Response(-0.1, 1.0, 1.0)
    with pytest.raises(OutOfDomain):
        Response(0.03, 1.0, 1.0, tail_share=1.5)
    with pytest.raises(OutOfDomain):
        Collimator("x", 3.0, 40.0, 1.0, 3.8).response(30.0)


@settings(deadline=None, max_examples=25)
@given(low=st.floats(0.8, 5.0), ratio=st.floats(1.0, 40.0))
def test_every_gaussian_of_the_range_is_made_within_the_tolerance(low: float, ratio: float) -> None:
    basis = blur_basis(low, low * ratio)
    sigma = np.geomspace(low, low * ratio, 257)
    assert basis.peak_error(sigma) <= 1.5 * PEAK_TOLERANCE
    weights = basis.weights(sigma)
    assert weights.sum(axis=0) == pytest.approx(1.0, abs=1e-12)
    assert np.abs(weights).max() < 10.0


def test_a_blur_matrix_keeps_counts_inside_and_loses_them_over_the_edge() -> None:
    matrix = blur_matrix(6.0, 41, 21, 4.8)
    assert matrix[:, 10].sum() == pytest.approx(1.0)
    assert blur_matrix(6.0, 41, 41, 4.8)[:, 0].sum() == pytest.approx(0.66, abs=0.02)
