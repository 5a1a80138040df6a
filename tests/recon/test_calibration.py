"""Protocol digests, calibration records, dead time, decay and recovery curves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dicomnode.errors import Inconsistent, OutOfDomain, Refused
from dicomnode.model import Grid, Severity
from dicomnode.model.projections import EnergyWindow, Projections
from dicomnode.recon.calibrate import dead_time_us
from dicomnode.recon.calibration.record import (
    Recovery,
    SpectCalibration,
    age_findings,
    choose,
    dead_time_factor,
    fit_dead_time,
    fit_recovery,
    mean_decay,
    windows_of,
)
from dicomnode.recon.protocol import LEARNED, Protocol

LU177_S = 6.647 * 86400


def scan(**changed: object) -> Projections:
    views, n = 4, 8
    made = Projections(
        counts=np.ones((3, views, n, n), np.int32),
        windows=(
            EnergyWindow("lower", ((176.54, 187.46),)),
            EnergyWindow("peak", ((187.56, 229.24),)),
            EnergyWindow("upper", ((229.31, 243.49),)),
        ),
        peak=1,
        angle_deg=np.arange(views) * 90.0,
        radius_mm=np.full(views, 200.0),
        seconds=np.full(views, 20.0),
        started_s=np.arange(views) * 22.0,
        pixel_mm=(4.8, 4.8),
        grid=Grid((n, n, n), (4.8, 4.8, 4.8)),
        started_at=datetime(2026, 11, 20, 9, tzinfo=UTC),
        nuclide="Lu-177",
        collimator="PARA",
        series_uid="1.2.3",
        frame_of_reference_uid="1.2.4",
        facts={"manufacturer": "ACME", "model": "Two Heads"},
    )
    return replace(made, **changed)


def record(**changed: object) -> SpectCalibration:
    values: dict[str, object] = {
        "name": "cylinder",
        "manufacturer": "ACME",
        "model": "Two Heads",
        "collimator": "siemens-me",
        "nuclide": "Lu-177",
        "windows_kev": windows_of(scan()),
        "protocol": Protocol().digest(scan().grid),
        "cps_per_mbq": 9.4,
        "measured_on": date(2026, 11, 1),
        "radius_mm": 200.0,
    }
    return SpectCalibration.model_validate(values | changed)


def test_the_digest_follows_every_choice_that_shapes_the_image_and_the_voxel_size():
    grid = scan().grid
    changes = {
        "algorithm": "mlem", "iterations": 5, "subsets": 6, "stop": "held-out", "filter_fwhm_mm": 8.0,
        "scatter": {"dew_k": 0.6}, "attenuation": False, "resolution": False,
    }  # fmt: skip
    digests = {Protocol().digest(grid)} | {Protocol(**{k: v}).digest(grid) for k, v in changes.items()}
    digests |= {Protocol(algorithm="bsrem", prior_weight=w).digest(grid) for w in (None, 0.01)}
    digests.add(Protocol().digest(Grid((8, 8, 8), (4.42, 4.42, 4.42))))
    assert len(digests) == len(changes) + 4
    assert set(changes) | {"prior_weight", "bootstraps"} == set(Protocol.model_fields)
    assert Protocol(bootstraps=3).digest(grid) == Protocol().digest(grid)


def test_the_digest_is_the_same_on_every_machine():
    # A record made today must still fit tomorrow: this value may only change together with CHAIN.
    assert Protocol().digest(Grid((8, 8, 8), (4.8, 4.8, 4.8))) == "e981ecf1ebbec948"


def test_learned_methods_follow_the_counts_whatever_the_priors_weight_is():
    for algorithm in LEARNED:
        assert Protocol(algorithm=algorithm, prior_weight=0.1).automatic
    assert not Protocol(algorithm="bsrem", prior_weight=0.1).automatic
    assert Protocol(algorithm="bsrem").automatic
    assert not Protocol().automatic


def test_the_method_in_words_names_what_was_used():
    assert Protocol().sentence("osem", "tew") == "OSEM 10i10s AC SC TEW RR"
    assert Protocol().sentence("osem", "none") == "OSEM 10i10s AC RR"
    filtered = Protocol(algorithm="mlem", iterations=30, filter_fwhm_mm=8)
    assert filtered.sentence("mlem", "dew") == "MLEM 30i1s AC SC DEW RR, Gaussian 8 mm"
    assert Protocol(algorithm="noise2noise").sentence("bsrem", "tew") == "BSREM MAP AC SC TEW RR"


def test_choices_without_meaning_are_errors():
    with pytest.raises(ValidationError, match="prior_weight has no meaning for osem"):
        Protocol(prior_weight=0.1)
    with pytest.raises(ValidationError, match="stop has no meaning for bsrem"):
        Protocol(algorithm="bsrem", stop="held-out")


def test_the_record_of_the_same_camera_and_protocol_is_chosen():
    records = [record(name="other", nuclide="I-131"), record()]
    assert choose(records, scan(), Protocol(), "siemens-me").name == "cylinder"


def test_of_several_records_the_latest_before_the_scan_is_chosen():
    """The scan is of 20 November 2026."""
    days = {"old": date(2025, 6, 1), "last": date(2026, 11, 20), "next": date(2026, 12, 1)}
    records = [record(name=name, measured_on=day, cps_per_mbq=9.0 + n) for n, (name, day) in
               enumerate(days.items())]  # fmt: skip
    assert choose(records, scan(), Protocol(), "siemens-me").name == "last"
    assert choose(records[::2], scan(), Protocol(), "siemens-me").name == "old"
    (old,) = age_findings(records[0], scan())
    assert (old.rule, old.severity, old.measured) == ("recon-calibration-age", Severity.WARNING, 537)
    assert age_findings(records[1], scan()) == ()
    assert choose(records[2:], scan(), Protocol(), "siemens-me").name == "next"
    (later,) = age_findings(records[2], scan())
    assert (later.rule, later.severity) == ("recon-calibration-later", Severity.HOLD)


def test_two_records_of_one_day_that_differ_are_refused():
    with pytest.raises(Refused, match="'cylinder' and 'again' all fit, are of 2026-11-01 and differ"):
        choose([record(), record(name="again", cps_per_mbq=9.5)], scan(), Protocol(), "siemens-me")
    same = [record(), record(name="again", traceability="by another person")]
    assert choose(same, scan(), Protocol(), "siemens-me").name == "cylinder"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"protocol": "0" * 16}, "protocol digest is '0000000000000000'"),
        ({"nuclide": "I-131"}, "RadionuclideCodeSequence is 'I-131', here 'Lu-177'"),
        ({"model": "One Head"}, "ManufacturerModelName is 'One Head'"),
        ({"collimator": "siemens-he"}, "CollimatorGridName is 'siemens-he'"),
        ({"station": "ROOM2"}, "StationName is 'ROOM2', here ''"),
        ({"windows_kev": (((187.2, 228.8),),)}, "windows are"),
    ],
)
def test_a_record_of_another_setting_is_refused(changed, said):
    with pytest.raises(Refused, match=said):
        choose([record(**changed)], scan(), Protocol(), "siemens-me")


def test_a_protocol_that_differs_by_one_subset_is_refused():
    with pytest.raises(Refused, match="protocol digest"):
        choose([record()], scan(), Protocol(subsets=9), "siemens-me")


def test_window_edges_may_differ_by_half_a_kev():
    near = tuple(tuple((low + 0.4, high - 0.4) for low, high in w) for w in windows_of(scan()))
    far = tuple(tuple((low + 0.6, high) for low, high in w) for w in windows_of(scan()))
    assert choose([record(windows_kev=near)], scan(), Protocol(), "siemens-me")
    turned = tuple(tuple(reversed(w)) for w in reversed(near))
    assert choose([record(windows_kev=turned)], scan(), Protocol(), "siemens-me")
    with pytest.raises(Refused, match="windows are"):
        choose([record(windows_kev=(near[0],) * len(near))], scan(), Protocol(), "siemens-me")
    with pytest.raises(Refused, match="EnergyWindowRangeSequence"):
        choose([record(windows_kev=far)], scan(), Protocol(), "siemens-me")


@settings(deadline=None)
@given(true=st.floats(1.0, 9.9e5), dead_time_us=st.floats(0.01, 1.0))
def test_dead_time_correction_undoes_the_paralysable_model(true, dead_time_us):
    observed = true * exp(-true * dead_time_us * 1e-6)
    assert dead_time_factor(observed, dead_time_us) * observed == pytest.approx(true, rel=1e-6)


def test_a_rate_that_no_paralysable_detector_shows_is_refused():
    assert dead_time_factor(np.zeros(3), 1.0) == pytest.approx(1.0)
    with pytest.raises(OutOfDomain, match=r"below 3\.679e"):
        dead_time_factor(4e5, 1.0)


def test_dead_time_and_sensitivity_come_back_from_a_decaying_source():
    activity = np.array([200.0, 1000.0, 4000.0, 8000.0, 12000.0])
    true = 30.0 * activity
    found = fit_dead_time(list(activity), list(true * np.exp(-true * 1.4e-6)))
    assert found == (pytest.approx(1.4, rel=1e-4), pytest.approx(30.0, rel=1e-4))


def test_the_dead_time_of_several_scans_is_that_of_their_rates():
    """1.4 us, 30 counts/s per MBq; four views of 20 s, in which 177Lu decays by 1e-4."""
    activity = [200.0, 2000.0, 8000.0]
    true = 30.0 * np.array(activity)
    each = np.rint(true * np.exp(-true * 1.4e-6) * 20 / (3 * 64)).astype(np.int32)
    scans = [scan(counts=np.full((3, 4, 8, 8), n, np.int32)) for n in each]
    assert dead_time_us(scans, activity) == pytest.approx(1.4, rel=0.01)
    with pytest.raises(Inconsistent, match="do not follow the activities"):
        dead_time_us(scans, [200.0, 2200.0, 8000.0])
    with pytest.raises(Inconsistent, match="the scans for the dead time differ"):
        dead_time_us([*scans[:2], replace(scans[2], collimator="HE")], activity)
    corrected = [replace(s, facts={**s.facts, "corrected_image": "UNIF DTIM"}) for s in scans]
    with pytest.raises(Inconsistent, match="corrected for dead time already"):
        dead_time_us(corrected, activity)


def test_decay_within_the_acquisition_is_exact():
    # One view of 25 min of 177Lu: T l / (1 - e^-lT) = 1.0009.
    assert 1 / mean_decay([0.0], [1500.0], LU177_S)[0] == pytest.approx(1.0009, abs=5e-5)
    assert mean_decay([3600.0], [1e-3], 3600.0)[0] == pytest.approx(0.5, rel=1e-6)
    views = mean_decay(np.arange(60) * 30.0, np.full(60, 30.0), 6 * 3600.0).mean()
    whole = log(2) * 1800 / (6 * 3600)
    assert views == pytest.approx((1 - exp(-whole)) / whole, rel=1e-6)


def test_the_recovery_curve_comes_back_and_is_half_at_its_volume():
    volume = [0.52, 1.15, 2.57, 5.58, 11.5, 26.5]
    found = fit_recovery(volume, list(Recovery(4.0, 0.8).at(volume)))
    assert (found.ml, found.power) == (pytest.approx(4.0, rel=1e-4), pytest.approx(0.8, rel=1e-4))
    assert found.at(found.ml) == pytest.approx(0.5)


def test_a_recovery_above_what_is_possible_is_refused():
    with pytest.raises(Inconsistent, match=r"between 0 and 1\.1"):
        fit_recovery([1.0, 5.0, 20.0], [0.2, 0.6, 1.4])
    with pytest.raises(Inconsistent, match="three spheres"):
        fit_recovery([1.0, 5.0], [0.2, 0.6])


@pytest.mark.parametrize(
    "recovery",
    [[1.0, 1.0, 1.0, 1.0], [0.9, 0.6, 0.4, 0.2], [0.2, 0.9, 0.3, 0.9]],
    ids=["no spheres there", "falling", "scattered"],
)
def test_recoveries_that_make_no_curve_are_refused(recovery: list[float]) -> None:
    with pytest.raises(Inconsistent, match="make no curve"):
        fit_recovery([0.5, 2.6, 11.5, 26.5], recovery)
