"""What the gates add up to; bad input; the page."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dicomnode.compare import paired, verdict
from dicomnode.compare.classical.organs import State, region_errors
from dicomnode.compare.judgement.thresholds import FALSE_ALARMS, VerdictSettings
from dicomnode.compare.moments.chisquare import moment_chi_square
from dicomnode.compare.page import html_page
from dicomnode.compare.picture import picture_png
from dicomnode.compare.resample import resampled
from dicomnode.compare.table import all_measures, as_data
from dicomnode.compare.transport.sliced import sliced
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import DensityMap, DoseMap, EnergyBalance, Grid, LabelMap

FAULTS = {
    "shift 2 mm": {"shift": (0.0, 2.0, 0.0)},
    "blur": {"blur": 9.0},
    "missing lesion": {"without": "lesion"},
    "kidney + 15 %": {"scale": {"kidney": 1.15}},
}


@pytest.mark.parametrize("noise", [0.01, 0.1])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_fails(phantom, pairing, fault, noise) -> None:
    found = verdict(pairing(phantom.dose(**FAULTS[fault]), noise=noise))
    assert found.state is State.FAIL, found.sentence


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_a_right_map_passes(phantom, pairing, noise) -> None:
    for seed in range(8):
        found = verdict(pairing(phantom.dose(), noise=noise, seed=seed))
        assert found.state is State.PASS, found.sentence


def test_too_much_noise_is_undecided_with_the_decays_that_would_decide(phantom, pairing) -> None:
    found = verdict(pairing(phantom.dose(), noise=0.9, decays=1e5))
    assert found.state is State.UNDECIDED, found.sentence
    assert found.further_decays > 1e4
    assert "further decays would decide" in found.sentence
    again = verdict(pairing(phantom.dose(), noise=0.9 / np.sqrt(1 + found.more), decays=1e5))
    assert next(g for g in again.gates if g.name == "noise").state is State.PASS


def test_every_gate_states_its_rate_of_false_alarms(phantom, pairing) -> None:
    found = verdict(pairing(phantom.dose()))
    assert {g.name for g in found.gates} == set(FALSE_ALARMS)
    assert all(0 <= g.false_alarm <= 0.05 for g in found.gates)
    for name, field in VerdictSettings.model_fields.items():
        assert field.description, name


def test_without_noise_nothing_passes_but_faults_still_fail(phantom) -> None:
    gy = phantom.dose()
    right = verdict(paired(phantom.map(gy), phantom.map(gy), regions=phantom.regions))
    assert right.state is State.UNDECIDED
    assert "states no noise" in right.sentence
    wrong = verdict(paired(phantom.map(1.1 * gy), phantom.map(gy), regions=phantom.regions))
    assert wrong.state is State.FAIL


def test_energy_is_used_where_the_density_is_known(phantom, pairing) -> None:
    density = DensityMap(phantom.grid, np.where(phantom.body, 1.04, 0.0012))
    pair = pairing(phantom.dose(), density=density)
    assert "total energy" in verdict(pair).gates[0].sentence
    with pytest.raises(Inconsistent, match="energy needs the density map"):
        sliced(pairing(phantom.dose()), kind="energy")


def test_grids_that_differ_are_refused_with_both_named(phantom) -> None:
    other = Grid((32,) * 3, (4.0,) * 3, (1.0, 0.0, 0.0))
    moved = DoseMap(other, phantom.dose(), 0 * phantom.dose(), EnergyBalance(1, 1, 0))
    with pytest.raises(Inconsistent, match=r"evaluated map has .* at \(1.0, 0.0, 0.0\).*resample it to the"):
        paired(moved, phantom.map(phantom.dose()))


def test_bad_input_is_said(phantom) -> None:
    gy = phantom.dose()
    with pytest.raises(Inconsistent, match="NaN or infinite"):
        phantom.map(np.where(gy > 1, np.nan, gy))
    with pytest.raises(Inconsistent, match="zero everywhere"):
        paired(phantom.map(gy), phantom.map(0 * gy))
    outside = LabelMap(phantom.grid, {"hand": ~phantom.body})
    with pytest.raises(Inconsistent, match="no voxel inside the body"):
        paired(phantom.map(gy), phantom.map(gy), body=phantom.body, regions=outside)
    with pytest.raises(OutOfDomain, match="standard uncertainty of the reference map"):
        paired(phantom.map(gy), phantom.map(gy, -0.1))
    with pytest.raises(OutOfDomain, match="a test against noise needs noise"):
        moment_chi_square(paired(phantom.map(gy), phantom.map(gy)))
    with pytest.raises(Inconsistent, match="the body is empty"):
        paired(phantom.map(gy), phantom.map(gy), body=gy < 0)


def test_an_all_zero_evaluated_map_fails_or_says_why(phantom) -> None:
    pair = paired(phantom.map(0 * phantom.dose()), phantom.map(phantom.dose(), 0.01), regions=phantom.regions)
    assert {e.state for e in region_errors(pair, 0.05)} == {State.FAIL}
    with pytest.raises(Inconsistent, match="is it all zero"):
        sliced(pair)
    assert verdict(pair).state is State.FAIL


def test_a_region_of_one_voxel_is_judged(phantom) -> None:
    one = np.zeros((32,) * 3, bool)
    one[16, 16, 16] = True
    pair = paired(
        phantom.map(phantom.dose()),
        phantom.map(phantom.dose(), 0.001),
        regions=LabelMap(phantom.grid, {"v": one}),
    )
    found = verdict(pair)
    assert found.regions[0].volume_ml == pytest.approx(0.064)
    assert found.state is State.PASS
    assert all(np.isfinite(m.value) for m in all_measures(pair, found, draws=0))


def test_all_measures_are_finite_plain_data_with_sentences(phantom, pairing) -> None:
    pair = pairing(phantom.dose(shift=(1.0, 0.0, 0.0)))
    judgement = verdict(pair)
    measures = all_measures(pair, judgement, draws=2)
    assert all(m.sentence and np.isfinite(m.value) for m in measures)
    data = json.loads(json.dumps(as_data(judgement, measures), allow_nan=False))
    assert data["verdict"] == judgement.state.value
    assert len(data["measures"]) == len(measures)


def test_the_page_escapes_what_comes_from_outside_and_needs_nothing_else(phantom) -> None:
    evil = "<script>alert(1)</script> $x^{ & \"'"
    regions = LabelMap(
        phantom.grid, {evil: phantom.regions.masks["liver"], "_hidden": phantom.regions.masks["kidney"]}
    )
    pair = paired(phantom.map(phantom.dose()), phantom.map(phantom.dose(), 0.01), regions=regions)
    judgement = verdict(pair)
    picture = picture_png(pair, judgement, dpi=40)
    assert picture.startswith(b"\x89PNG")
    page = html_page(judgement, all_measures(pair, judgement, draws=0), picture, {"evaluated": "<b>.mha"})
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>.mha" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_resampling_conserves_the_total_and_reproduces_a_linear_dose() -> None:
    fine = Grid((24, 24, 24), (2.0, 2.0, 2.0))
    coarse = Grid((10, 10, 10), (4.0, 4.0, 4.0), (5.0, 5.0, 5.0))
    z, y, x = np.meshgrid(*[2.0 * np.arange(24)] * 3, indexing="ij")
    expected = np.meshgrid(*[5.0 + 4.0 * np.arange(10)] * 3, indexing="ij")
    found = resampled(x + 2 * y - z, fine, coarse)
    assert np.allclose(found, expected[2] + 2 * expected[1] - expected[0], atol=1e-4)
    spot = np.zeros((24, 24, 24))
    spot[12, 11, 13] = 8.0
    assert resampled(spot, fine, coarse).sum() * 64.0 == pytest.approx(spot.sum() * 8.0, rel=0.3)
    with pytest.raises(Inconsistent, match="does not cover"):
        resampled(x, fine, Grid((10, 10, 10), (8.0,) * 3))
    assert np.array_equal(resampled(x, fine, fine), x.astype(np.float32))
