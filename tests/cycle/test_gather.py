"""Grouping of series into time points and cycles."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dicomnode.cycle.gather import gather, summarise
from dicomnode.cycle.readiness import readiness
from dicomnode.cycle.settings import CycleSettings
from dicomnode.model import Administration, Severity
from dicomnode.model.series import InstanceHeader, Role, SeriesSummary

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LU = Administration("Lu-177", 7400.0, START, source="person:test")


def header(uid: str, role: Role, hours: float, frame: str, **more: object) -> InstanceHeader:
    base = InstanceHeader(
        sop_instance_uid=f"{uid}.1",
        sop_class_uid="1.2",
        series_instance_uid=uid,
        study_instance_uid="9.1",
        role=role,
        modality="NM",
        patient_id="P1",
        patient_name="A^B",
        frame_of_reference_uid=frame,
        acquired_at=START + timedelta(hours=hours),
        nuclide="Lu-177" if role is Role.EMISSION else "",
    )
    return replace(base, **more)


def series(uid: str, role: Role, hours: float, frame: str, **more: object) -> SeriesSummary:
    h = header(uid, role, hours, frame, **more)
    return summarise([h], {h.sop_instance_uid: "d" * 64}, START + timedelta(hours=hours + 1))


def four_time_points() -> list[SeriesSummary]:
    out = []
    for i, hours in enumerate((4, 24, 72, 168), start=1):
        out += [
            series(f"1.{i}", Role.EMISSION, hours, f"5.{i}"),
            series(f"2.{i}", Role.CT, hours, f"5.{i}"),
        ]
    return out


def test_four_spect_with_their_ct_are_one_cycle() -> None:
    got = gather(four_time_points(), [LU], CycleSettings())
    (cycle,) = got.cycles
    assert cycle.administration == LU
    assert [(p.emission.series_uid, p.ct.series_uid if p.ct else "") for p in cycle.time_points] == [
        (f"1.{i}", f"2.{i}") for i in (1, 2, 3, 4)
    ]
    assert not got.unused


def test_the_order_of_arrival_does_not_matter() -> None:
    forward = gather(four_time_points(), [LU], CycleSettings())
    assert gather(four_time_points()[::-1], [LU], CycleSettings()) == forward


def test_a_second_administration_starts_a_second_cycle() -> None:
    second = replace(LU, at=START + timedelta(days=56))
    late = [series("1.9", Role.EMISSION, 56 * 24 + 24, "5.9")]
    cycles = gather(four_time_points() + late, [LU, second], CycleSettings()).cycles
    assert [len(c.time_points) for c in cycles] == [4, 1]
    assert cycles[1].administration == second


def test_without_an_administration_the_cycle_waits_for_one() -> None:
    (cycle,) = gather(four_time_points(), [], CycleSettings()).cycles
    assert cycle.administration is None


def test_two_reconstructions_of_one_acquisition_hold_until_one_is_named() -> None:
    both = [
        series("1.1", Role.EMISSION, 24.0, "5.1", series_description="OSEM AC"),
        series("1.2", Role.EMISSION, 24.0, "5.1", series_description="OSEM NAC"),
    ]
    got = gather(both, [LU], CycleSettings())
    assert [f.rule for f in got.cycles[0].findings] == ["several-reconstructions"]
    named = gather(both, [LU], CycleSettings(emission_description=r"\bAC$"))
    assert named.cycles[0].findings == ()
    assert named.cycles[0].time_points[0].emission.series_uid == "1.1"
    assert named.unused["1.2"][0] == "other-reconstruction"


def test_a_reconstruction_without_nuclide_is_no_acquisition_more() -> None:
    for minutes in (-5, 0, 5):
        silent = series("1.9", Role.EMISSION, 24 + minutes / 60, "5.2", nuclide="")
        got = gather([*four_time_points(), silent], [LU], CycleSettings())
        assert [len(c.time_points) for c in got.cycles] == [4]
        assert [f.rule for f in got.cycles[0].findings] == ["several-reconstructions"]
        assert got.unused["1.9"][0] == "other-reconstruction"


def test_two_nuclides_of_one_acquisition_are_cycles_of_their_own() -> None:
    tb = replace(LU, nuclide="Tb-161")
    both = [series(f"1.{n}", Role.EMISSION, 24, "5.1", nuclide=n) for n in ("Lu-177", "Tb-161")]
    got = gather(both, [LU, tb], CycleSettings())
    assert sorted((c.nuclide, len(c.time_points), c.findings) for c in got.cycles) == [
        ("Lu-177", 1, ()), ("Tb-161", 1, ()),
    ]  # fmt: skip


def test_time_points_that_are_too_close_to_be_two_hold() -> None:
    """One acquisition twice without a frame of reference: at 24 h, and at 24.5 h."""
    twice = [series(f"1.{n}", Role.EMISSION, 24 + n / 2, "") for n in range(2)]
    (cycle,) = gather(twice, [LU], CycleSettings()).cycles
    (found,) = cycle.findings
    assert (found.rule, found.severity, found.subject, found.measured) == (
        "time-points-too-close", Severity.HOLD, "1.1", 30.0,
    )  # fmt: skip
    far = [series(f"1.{n}", Role.EMISSION, 24 + 2 * n, "") for n in range(2)]
    assert gather(far, [LU], CycleSettings()).cycles[0].findings == ()


def test_a_ct_of_another_frame_of_reference_is_no_partner_unless_allowed() -> None:
    pair = [series("1.1", Role.EMISSION, 24.0, "5.1"), series("2.1", Role.CT, 24.0, "5.2")]
    assert gather(pair, [LU], CycleSettings()).cycles[0].time_points[0].ct is None
    allowed = gather(pair, [LU], CycleSettings(same_study_ct=True))
    assert allowed.cycles[0].time_points[0].ct is not None


def test_a_series_of_two_patients_holds() -> None:
    a = header("1.1", Role.EMISSION, 24.0, "5.1")
    b = replace(a, sop_instance_uid="1.1.2", patient_id="P2")
    mixed = summarise([a, b], {"1.1.1": "d", "1.1.2": "e"}, START)
    assert [(f.rule, f.severity) for f in mixed.findings] == [("mixed-patient", Severity.HOLD)]


def test_completeness_by_number_by_quiet_time_and_by_a_person() -> None:
    settings = CycleSettings(expected_time_points=4, series_quiet_s=30, cycle_quiet_h=96)
    (whole,) = gather(four_time_points(), [LU], settings).cycles
    last = START + timedelta(hours=169)
    assert not readiness(whole, last + timedelta(seconds=29), settings).ready
    assert readiness(whole, last + timedelta(seconds=31), settings).ready
    (part,) = gather(four_time_points()[:4], [LU], settings).cycles
    two_in = START + timedelta(hours=25)
    waiting = readiness(part, two_in + timedelta(hours=1), settings)
    assert not waiting.ready
    assert "2 of 4 time points" in waiting.reasons[0]
    assert readiness(part, two_in + timedelta(hours=1), settings, released=True).ready
    assert readiness(part, two_in + timedelta(hours=96), settings).ready


def test_raw_projections_are_unused_until_the_node_is_told_to_reconstruct() -> None:
    raw = series("1.1", Role.PROJECTIONS, 4, "5.1", nuclide="Lu-177")
    ct = series("2.1", Role.CT, 4, "5.1")
    off = gather([raw, ct], [LU], CycleSettings())
    assert off.cycles == ()
    code, sentence = off.unused["1.1"]
    assert code == "not-reconstructed"
    assert "switch on `reconstruct` in [recon]" in sentence
    on = gather([raw, ct], [LU], CycleSettings(), reconstruct=True)
    (point,) = on.cycles[0].time_points
    assert (point.emission.series_uid, point.ct and point.ct.series_uid) == ("1.1", "2.1")
    assert not on.unused


def test_the_nodes_own_reconstruction_comes_before_the_cameras() -> None:
    raw = series("1.1", Role.PROJECTIONS, 4, "5.1", nuclide="Lu-177")
    vendors = series("1.2", Role.EMISSION, 4, "5.1")
    got = gather([vendors, raw], [LU], CycleSettings(), reconstruct=True)
    (point,) = got.cycles[0].time_points
    assert point.emission.series_uid == "1.1"
    assert got.unused["1.2"][0] == "other-reconstruction"
    assert got.cycles[0].findings == ()
    (point,) = gather([vendors, raw], [LU], CycleSettings()).cycles[0].time_points
    assert point.emission.series_uid == "1.2"


def test_two_acquisitions_of_projections_at_one_time_hold() -> None:
    beds = [series(f"1.{i}", Role.PROJECTIONS, 4 + i / 10, "5.1", nuclide="Lu-177") for i in (1, 2)]
    (cycle,) = gather(beds, [LU], CycleSettings(), reconstruct=True).cycles
    assert [f.rule for f in cycle.findings] == ["several-reconstructions"]


def test_noise_belongs_to_the_image_that_it_refers_to() -> None:
    image = series("1.1", Role.EMISSION, 4, "5.1")
    noise = series("3.1", Role.UNCERTAINTY, 4, "5.1", referenced_series_uids=("1.1", "1.9"))
    other = series("3.2", Role.UNCERTAINTY, 4, "5.1", referenced_series_uids=("1.8",))
    got = gather([image, noise, other], [LU], CycleSettings())
    assert got.cycles[0].time_points[0].uncertainty is noise
    assert noise in got.cycles[0].series()
    assert list(got.unused) == ["3.2"]
    assert got.unused["3.2"][0] == "no-image"


def test_projections_that_are_reconstructed_find_their_noise_anew() -> None:
    raw = series("1.1", Role.PROJECTIONS, 4, "5.1", nuclide="Lu-177")
    noise = series("3.1", Role.UNCERTAINTY, 4, "5.1", referenced_series_uids=("1.1",))
    got = gather([raw, noise], [LU], CycleSettings(), reconstruct=True)
    assert got.cycles[0].time_points[0].uncertainty is None
