"""Scatter from the windows beside the peak."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.errors import Inconsistent
from dicomnode.model.projections import EnergyWindow
from dicomnode.recon.camera.scatter import (
    ScatterMethod,
    ScatterSettings,
    exposed_field,
    scatter_counts,
    window_weights,
)

# The real 177Lu NEMA acquisition of spect_raw/nema_lu177_headers: neither contiguous nor equally wide.
PEAK = EnergyWindow("peak", ((187.56, 229.24),))
LOWER = EnergyWindow("lower", ((176.54, 187.46),))
UPPER = EnergyWindow("upper", ((229.31, 243.49),))
PEAK_113 = EnergyWindow("113", ((101.7, 124.3),))


def test_tew_weights_come_from_the_headers_widths_whatever_the_order() -> None:
    """41.68 / (2 x 10.92) and 41.68 / (2 x 14.18); with equal widths assumed both would be 2."""
    method, weights = window_weights((UPPER, PEAK_113, PEAK, LOWER), 2, ScatterSettings())
    assert method is ScatterMethod.TEW
    assert weights == pytest.approx((41.68 / 28.36, 0.0, 0.0, 41.68 / 21.84))


def test_a_flat_spectrum_of_scatter_is_estimated_exactly() -> None:
    """5 counts per keV everywhere: 41.68 keV hold 208.4 of them."""
    windows = (PEAK, LOWER, UPPER)
    per_window = np.array([1000.0, 5 * LOWER.width_kev, 5 * UPPER.width_kev])
    counts = np.broadcast_to(per_window[:, None, None, None], (3, 2, 8, 8))
    _, weights = window_weights(windows, 0, ScatterSettings())
    estimate = scatter_counts(counts, weights, 1.5)
    assert estimate.dtype == np.float32
    np.testing.assert_allclose(estimate, 5 * 41.68, rtol=1e-5)


def test_without_an_upper_window_dew_is_used_and_without_any_nothing() -> None:
    method, weights = window_weights((PEAK, LOWER), 0, ScatterSettings())
    assert method is ScatterMethod.DEW
    assert weights == pytest.approx((0.0, 0.5 * 41.68 / 10.92))
    assert window_weights((PEAK,), 0, ScatterSettings()) == (ScatterMethod.NONE, (0.0,))


@pytest.mark.parametrize("windows", [(PEAK,), (PEAK, LOWER), (PEAK, PEAK_113, UPPER)])
def test_a_method_without_its_windows_is_refused(windows: tuple[EnergyWindow, ...]) -> None:
    with pytest.raises(Inconsistent, match=r"TEW needs a scatter window (below|above)"):
        window_weights(windows, 0, ScatterSettings(method=ScatterMethod.TEW))


def test_a_peak_of_two_ranges_has_no_tew() -> None:
    both = EnergyWindow("both", ((101.7, 124.3), (187.56, 229.24)))
    assert window_weights((both, LOWER, UPPER), 0, ScatterSettings())[0] is ScatterMethod.NONE


def test_smoothing_keeps_counts_and_lowers_noise_within_each_view_only() -> None:
    rng = np.random.default_rng(1)
    counts = np.zeros((2, 3, 300, 300), np.int32)
    counts[1, 1] = rng.poisson(9.0, (300, 300))
    smooth = scatter_counts(counts, (0.0, 1.0), 1.5)
    assert smooth[[0, 2]].max() == 0
    assert smooth.sum() == pytest.approx(counts.sum(), rel=5e-3)
    # a Gaussian of sigma s leaves 1 / (2 s sqrt(pi)) of white noise along each axis
    assert smooth[1, 8:-8, 8:-8].std() == pytest.approx(3.0 / (2 * 1.5 * np.pi**0.5), rel=0.05)


def test_rows_that_the_camera_filled_up_take_no_scatter_from_those_that_it_measured() -> None:
    """The synthetic 177Lu NEMA set has 8 such rows at each end: smoothing across took a third of their
    neighbours' scatter away, and expected counts where there can be none at 12 standard deviations."""
    counts = np.zeros((2, 3, 40, 30), np.int32)
    counts[1, :, 8:32] = 50
    smooth = scatter_counts(counts, (0.0, 1.0), 1.5)
    np.testing.assert_allclose(smooth[:, 8:32], 50.0, rtol=1e-6)
    assert smooth[:, :8].max() == 0
    assert smooth[:, 32:].max() == 0
    assert exposed_field(counts.sum(axis=(0, 1))) == (slice(8, 32), slice(0, 30))
    assert exposed_field(np.zeros((4, 5))) == (slice(0, 4), slice(0, 5))
