"""Gamma against pymedphys, which its own authors validated (Biggs et al. 2022, JOSS 7:4555)."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.compare.classical.gamma import Criterion, gamma_map, gamma_pass_rate
from dicomnode.errors import OutOfDomain

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def peer(evaluated, reference, spacing, criterion, norm):
    from pymedphys import gamma

    axes = tuple(np.arange(n) * float(h) for n, h in zip(reference.shape, spacing, strict=True))
    return gamma(
        axes, reference, axes, evaluated, criterion.dose_percent, criterion.distance_mm,
        lower_percent_dose_cutoff=criterion.cutoff_percent, interp_fraction=criterion.steps,
        max_gamma=criterion.max_gamma, local_gamma=criterion.local, global_normalisation=norm,
    )  # fmt: skip


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize(
    ("spacing", "criterion"),
    [((4.0, 3.0, 5.0), (3.0, 3.0)), ((2.5, 2.5, 2.5), (2.0, 2.0)), ((4.0,) * 3, (5.0, 7.0))],
)
def test_gamma_equals_pymedphys_to_1e_9_borders_included(local, noise, spacing, criterion) -> None:
    rng = np.random.default_rng(7)
    z, y, x = (np.arange(n) * h for n, h in zip((14, 18, 16), spacing, strict=True))
    reference = 1.0 + np.cos(z / 15)[:, None, None] * np.sin(y / 11)[None, :, None] * np.cos(x / 13)
    evaluated = 1.0 + np.cos(z / 15 + 0.1)[:, None, None] * np.sin(y / 11)[None, :, None] * np.cos(x / 13.3)
    reference = reference + noise * rng.standard_normal(reference.shape)
    rule = Criterion(*criterion, local=local, cutoff_percent=5.0)
    norm = float(reference.max())
    ours, theirs = (
        gamma_map(evaluated, reference, spacing, rule, norm),
        peer(evaluated, reference, spacing, rule, norm),
    )
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    assert np.nanmax(np.abs(ours - theirs)) < 1e-9
    assert 0.02 < np.nanmean(ours <= 1.0) < 1.0  # both passing and failing voxels were compared


def test_a_uniform_map_that_is_off_by_the_criterion_has_gamma_one() -> None:
    reference = np.ones((6, 6, 6))
    found = gamma_map(1.03 * reference, reference, (2.0, 2.0, 2.0), Criterion(3.0, 3.0), 1.0)
    assert found == pytest.approx(1.0, abs=1e-12)


def test_the_roles_of_the_maps_are_not_exchangeable_under_noise(phantom, pairing) -> None:
    # Graves, Jia & Jiang 2013: noise in the reference lowers the rate, noise in the evaluated map raises it.
    noisy_reference = pairing(phantom.dose(), noise=0.1)
    swapped = noisy_reference.with_evaluated(noisy_reference.reference)
    object.__setattr__(swapped, "reference", phantom.dose())
    assert gamma_pass_rate(noisy_reference).value < gamma_pass_rate(swapped).value - 5.0


def test_gamma_of_a_noisy_reference_says_that_it_is_not_interpretable(phantom, pairing) -> None:
    found = gamma_pass_rate(pairing(phantom.dose(), noise=0.1), draws=4)
    assert "not interpretable" in found.sentence
    assert found.expected == pytest.approx(found.value, abs=3.0)  # a right map fails as noise makes it
    assert found.value < 95.0


def test_gamma_passes_a_shift_of_2_mm_at_the_usual_limit(phantom, pairing) -> None:
    """Why gamma is no gate: 3 %/3 mm global, limit 95 %."""
    assert gamma_pass_rate(pairing(phantom.dose(shift=(2.0, 0.0, 0.0)), noise=0.001)).value > 95.0


@pytest.mark.parametrize("bad", [{"dose_percent": 0.0}, {"distance_mm": -1.0}, {"max_gamma": np.inf}])
def test_a_criterion_of_nothing_is_refused(bad) -> None:
    with pytest.raises(OutOfDomain, match="positive and finite"):
        Criterion(**bad)


def test_no_voxel_above_the_cut_off_is_said(phantom, pairing) -> None:
    with pytest.raises(OutOfDomain, match="above the gamma cut-off"):
        gamma_pass_rate(pairing(phantom.dose()), Criterion(norm_gy=1e6))
