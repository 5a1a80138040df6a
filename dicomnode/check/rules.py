"""One function per rule. Each takes nouns and returns findings; none decides anything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from math import exp

from dicomnode.check.limits import dose_range
from dicomnode.check.settings import CheckSettings
from dicomnode.model import Administration, Cycle, Finding, Nuclide, OrganDose, Severity, TiaFit
from dicomnode.model.findings import apart
from dicomnode.model.series import EmissionVolume


def administration_is_known(administration: Administration | None) -> Iterator[Finding]:
    """Without activity and time there is neither t = 0 nor a plausibility check."""
    if administration is None:
        yield Finding(
            "no-administration",
            Severity.HOLD,
            "nobody has told when and how much was administered: use `dicomnode administer`, "
            "[[administration]] in the configuration, or send the administered-activity report",
        )


def conflicting_instance(sop_instance_uid: str) -> Finding:
    """PS3.5 9, of files in a folder."""
    return Finding(
        "conflicting-instance",
        Severity.HOLD,
        "two different objects have one SOP Instance UID; the first is used: find out which is right, and "
        "remove the other from the folder",
        subject=sop_instance_uid,
    )


def contradicting_objects(named: str, objects: int, what: str, series_uid: str, newest_uid: str) -> Finding:
    """PS3.5 9: a UID names one object for ever, so that one of the two is wrong. ``named``: how many of what;
    ``what``: in what they differ."""
    return Finding(
        "conflicting-instance",
        Severity.HOLD,
        f"{named} came again under their SOP Instance UIDs and differ in {what}; the first are used. Find "
        f"out which are right, then `dicomnode quarantine choose first {series_uid}`, or `choose second`, "
        f"which puts the later ones in their place",
        measured=float(objects),
        limit=0.0,
        subject=newest_uid,
    )


def correction_waits(named: str, objects: int, what: str, series_uid: str, newest_uid: str) -> Finding:
    """The patient of the second object: what is his may be computed under another name."""
    return Finding(
        "correction-waits",
        Severity.HOLD,
        f"{named} name this patient and are not used, since they came under the SOP Instance UIDs of another "
        f"patient's and differ in {what}: where they are right, `dicomnode quarantine choose second "
        f"{series_uid}` puts them in their place",
        measured=float(objects),
        limit=0.0,
        subject=newest_uid,
    )


def time_points_are_all_there(have: int, expected: int) -> Iterator[Finding]:
    """A scan may be missing, late, or under another Patient ID."""
    if have < expected:
        yield Finding(
            "time-points-missing",
            Severity.WARNING,
            f"{have} of {expected} time points: the activity over time rests on fewer scans than expected; "
            f"a scan that comes later makes a new revision",
            measured=float(have),
            limit=float(expected),
            unit="time points",
        )


def near_twin(scans: int, reasons: Iterable[str], emission_uid: str) -> Finding:
    """The missing scan may have been sent under a mistyped Patient ID."""
    return Finding(
        "near-twin",
        Severity.HOLD,
        f"time points are missing, and {scans} scan{'s' if scans > 1 else ''} of another Patient ID may "
        f"belong here ({', '.join(reasons)}): where a Patient ID is wrong, have it corrected and sent again, "
        f"and take it with `dicomnode quarantine choose second`; where they are two people, release it",
        measured=float(scans),
        limit=0.0,
        unit="scans",
        subject=emission_uid,
    )


def files_are_here(removed: int) -> Iterator[Finding]:
    """A late series may join images that retention has removed since."""
    if removed:
        yield Finding(
            "received-files-removed",
            Severity.HOLD,
            f"{removed} received files of this cycle were removed by keep_received_days: have its series "
            f"sent again, then release",
            measured=float(removed),
            limit=0.0,
        )


def administered_activity_is_plausible(
    administration: Administration, settings: CheckSettings
) -> Iterator[Finding]:
    """RadionuclideTotalDose is Bq in PT and MBq in NM; a factor of a million is easily lost."""
    low, high = settings.minimum_activity_mbq, settings.maximum_activity_mbq
    if not low <= administration.activity_mbq <= high:
        yield Finding(
            "administered-activity-implausible",
            Severity.HOLD,
            f"the administered activity of {administration.activity_mbq:g} MBq is not that of a therapy "
            f"({low:g} to {high:g} MBq): tell the right one with `dicomnode administer`",
            measured=administration.activity_mbq,
            limit=high,
            unit="MBq",
            subject=administration.source,
            source="RadionuclideTotalDose (0018,1074): MBq in enhanced PET (PS3.3 C.8.22.4), Bq in PET Image",
        )


def half_life_agrees(volume: EmissionVolume, nuclide: Nuclide, settings: CheckSettings) -> Iterator[Finding]:
    """A header half-life in minutes or hours, or of another nuclide, betrays a wrong header."""
    if volume.half_life_s is None:
        return
    difference = abs(volume.half_life_s / nuclide.half_life_s - 1)
    if difference > settings.half_life_tolerance:
        yield Finding(
            "half-life-disagrees",
            Severity.HOLD,
            f"the header gives a half-life of {volume.half_life_s:g} s, {nuclide.name} has "
            f"{nuclide.half_life_s:g} s: correct nuclide or half-life at the camera and send again",
            measured=difference,
            limit=settings.half_life_tolerance,
            subject=volume.series_uid,
            source=nuclide.source,
        )


def nuclide_agrees(volume: EmissionVolume, nuclide: Nuclide) -> Iterator[Finding]:
    """The image must be of the nuclide that was administered."""
    if volume.nuclide and volume.nuclide != nuclide.name:
        yield Finding(
            "nuclide-disagrees",
            Severity.HOLD,
            f"the image is of {volume.nuclide}, the administration of {nuclide.name}: correct one of them",
            subject=volume.series_uid,
        )


def ct_is_there(has_ct: bool, without_ct: str, emission_uid: str) -> Iterator[Finding]:
    """Attenuation, organs and density come from the CT."""
    if has_ct:
        return
    if without_ct == "soft-tissue":
        yield Finding(
            "no-ct",
            Severity.WARNING,
            "there is no CT: the body is taken as soft tissue of 1.04 g/cm3, as configured",
            subject=emission_uid,
        )
    else:
        yield Finding(
            "no-ct",
            Severity.HOLD,
            "no CT of the frame of reference of the emission series has arrived: send it; or, where its "
            "study has a CT in another frame that is aligned, set same_study_ct = true in [cycle]; or set "
            'without_ct = "soft-tissue" there',
            subject=emission_uid,
        )


def reconstructions_agree(methods: Mapping[str, str]) -> Iterator[Finding]:
    """Scans that were reconstructed here, time point -> method. A learned image may be released for one scan
    and refused for the next; a curve through images of different resolution has a wrong half-life."""
    if len(set(methods.values())) > 1:
        told = "; ".join(f"{label}: {method}" for label, method in methods.items())
        yield Finding(
            "recon-methods-differ",
            Severity.HOLD,
            f"the scans of this cycle were not reconstructed by one method ({told}): a curve through them "
            'mixes resolutions. Set algorithm = "osem" in [recon.protocol], or release it as it is',
        )


def frames_of_reference_agree(
    emission_frame: str, ct_frame: str, allowed: bool, emission_uid: str
) -> Iterator[Finding]:
    """SPECT and CT of one session share a frame of reference; where not, identity is an assumption."""
    if emission_frame == ct_frame:
        return
    yield Finding(
        "frame-of-reference-differs",
        Severity.WARNING if allowed else Severity.HOLD,
        "SPECT and CT have different frames of reference; they are taken as aligned because "
        "same_study_ct is set"
        if allowed
        else "SPECT and CT have different frames of reference: where they are aligned, set "
        "same_study_ct = true in [cycle]",
        subject=emission_uid,
    )


def times_are_plausible(cycle: Cycle, settings: CheckSettings, now: datetime) -> Iterator[Finding]:
    """Clock and zone traps: before the administration, far after it, or in the future."""
    for point, hours in zip(cycle.time_points, cycle.hours(), strict=True):
        if not settings.earliest_h <= hours <= settings.latest_h:
            yield Finding(
                "acquisition-time-implausible",
                Severity.HOLD,
                f"{point.label} was acquired {hours:.2f} h after the administration: check the clocks and "
                f"time zones of camera and record",
                measured=hours,
                limit=settings.latest_h,
                unit="h",
                subject=point.spect_uid,
            )
        if point.acquired_at > now:
            yield Finding(
                "acquisition-in-the-future",
                Severity.HOLD,
                f"{point.label} claims to have been acquired in the future: the camera's clock or the time "
                f"zone is wrong",
                measured=(point.acquired_at - now).total_seconds() / 3600,
                limit=0.0,
                unit="h",
                subject=point.spect_uid,
            )


def image_total_below_administered(
    cycle: Cycle, nuclide: Nuclide, settings: CheckSettings
) -> Iterator[Finding]:
    """A field of view cannot hold more than was administered, physically decayed."""
    for point, hours in zip(cycle.time_points, cycle.hours(), strict=True):
        left_mbq = cycle.administration.activity_mbq * exp(-nuclide.decay_per_s * hours * 3600)
        ratio = point.activity.total_mbq / left_mbq
        if ratio > 1 + settings.image_total_tolerance:
            found, most = apart(point.activity.total_mbq, left_mbq * (1 + settings.image_total_tolerance))
            yield Finding(
                "activity-above-administered",
                Severity.HOLD,
                f"{point.label} holds {found} MBq, but at most {most} MBq can be left of the administered "
                f"activity ({settings.image_total_tolerance:.0%} tolerance included): check calibration, "
                f"units and decay reference",
                measured=ratio,
                limit=1 + settings.image_total_tolerance,
                subject=point.spect_uid,
            )
        elif point.activity.total_mbq <= 0:
            yield Finding(
                "image-empty",
                Severity.HOLD,
                f"{point.label} holds no activity: check the series",
                measured=point.activity.total_mbq,
                limit=0.0,
                unit="MBq",
                subject=point.spect_uid,
            )


def activity_falls_as_physics_demands(
    cycle: Cycle, nuclide: Nuclide, settings: CheckSettings
) -> Iterator[Finding]:
    """Without a new administration the whole field cannot lose less than physical decay takes, once
    distribution is over (24 h): a rise means volumes scaled apart from each other or mixed up."""
    points = [
        (p, h)
        for p, h in zip(cycle.time_points, cycle.hours(), strict=True)
        if h >= 20 or p is cycle.time_points[0]
    ]
    for (before, h0), (after, h1) in pairwise(points):
        allowed = before.activity.total_mbq * exp(-nuclide.decay_per_s * (h1 - h0) * 3600)
        ratio = after.activity.total_mbq / allowed if allowed > 0 else 0.0
        if ratio > 1 + 2 * settings.image_total_tolerance:
            found, most = apart(ratio, 1 + 2 * settings.image_total_tolerance)
            first, second = before.activity.total_mbq, after.activity.total_mbq
            yield Finding(
                "activity-rises",
                Severity.HOLD,
                f"the activity in the field of view falls from {before.label} ({first:.4g} MBq) to "
                f"{after.label} ({second:.4g} MBq) by less than physical decay ({found} x what can be left, "
                f"{most} is tolerated): check calibration and field of view of both",
                measured=ratio,
                limit=1 + 2 * settings.image_total_tolerance,
                subject=after.spect_uid,
            )


def tia_below_administered(
    fit: TiaFit, administration: Administration, nuclide: Nuclide, tolerance: float = 0.10
) -> Iterator[Finding]:
    """No region holds more decays than were administered. An implant as a whole holds nearly all of them, so
    that calibration and activity meter decide: ``tolerance`` is that of the image's total activity."""
    all_decays = administration.activity_mbq / nuclide.decay_per_s
    limit = all_decays * (1 + tolerance)
    for region in fit.regions:
        if region.tia_mbq_s > limit:
            found, most = apart(region.tia_mbq_s, limit)
            yield Finding(
                "tia-above-administered",
                Severity.HOLD,
                f"{region.region}: {found} MBq s is more than all decays of the administered activity and "
                f"{tolerance:.0%} ({most} MBq s): check time points and calibration, then release, or tell "
                f"the right activity with `dicomnode administer`",
                measured=region.tia_mbq_s,
                limit=limit,
                unit="MBq s",
                subject=region.region,
            )


def tail_is_measured(fit: TiaFit, settings: CheckSettings) -> Iterator[Finding]:
    """What comes after the last scan is assumed, not measured. One finding for the regions together.

    The limit is our own choice. Half of an exponential comes after one effective half-life; a trapezoid of
    177Lu whose physical tail is half of it overestimates by 30 % (24, 48, 120 h; 60 h effective).
    """
    large = {
        region.region: region
        for region in fit.regions
        if (region.extrapolated_fraction or 0.0) > settings.tail_fraction
    }
    if not large:
        return
    fraction, worst = max((region.extrapolated_fraction or 0.0, name) for name, region in large.items())
    sentence = (
        f"more than {settings.tail_fraction:.0%} of the time-integrated activity lies after the last scan in "
        f"{', '.join(large)} (at most {fraction:.0%}, in {worst}) and is assumed: a later scan measures it"
    )
    if any(region.method == "trapezoid" for region in large.values()):
        sentence += "; the trapezoid takes the slowest decay there is: a fitted method is nearer"
    yield Finding(
        "tail-large",
        Severity.WARNING,
        sentence,
        measured=fraction,
        limit=settings.tail_fraction,
        subject=worst,
    )


def noise_is_small(
    by_region: Mapping[str, tuple[float, float]], settings: CheckSettings
) -> Iterator[Finding]:
    """Noise lifts what sorts voxels (D2, the maximum) and lowers D98; the mean stays right.

    ``by_region``: relative noise of the hot voxels, and near-maximum (Gy). One finding for the regions
    together. It holds by the hottest regions alone (at least half of the greatest near-maximum): at 15 % a
    uniform region's D2 is 31 % too high. The limits are our own choice.
    """
    noisy = {name: n for name, (n, _) in by_region.items() if n > settings.hot_noise_warn}
    if not noisy:
        return
    greatest = max(peak for _, peak in by_region.values())
    hold = [
        n for n, (noise, peak) in by_region.items()
        if noise > settings.hot_noise_hold and peak >= greatest / 2
    ]  # fmt: skip
    worst = max(hold or noisy, key=lambda name: noisy[name])
    limit = settings.hot_noise_hold if hold else settings.hot_noise_warn
    remedy = ": compute with more decays ([dose.options]), or release it for the means" if hold else ""
    yield Finding(
        "dose-noise",
        Severity.HOLD if hold else Severity.WARNING,
        f"the Monte Carlo noise of hot voxels is {noisy[worst]:.1%} in {worst} (limit {limit:.0%}), so that "
        f"D2 and maximum are too high and D98 too low in {', '.join(noisy)}; mean doses are right{remedy}",
        measured=noisy[worst],
        limit=limit,
        subject=worst,
        source="AAPM TG-105, Med Phys 2007;34:4818",
    )


def organ_doses_are_plausible(
    doses: Iterable[OrganDose], administration: Administration, nuclide: Nuclide
) -> Iterator[Finding]:
    """Dose per administered activity against what has been published; a note names what nobody compared."""
    unknown = []
    for dose in doses:
        known = dose_range(nuclide.name, dose.region)
        if known is None:
            unknown.append(dose.region)
            continue
        value = dose.mean_gy / (administration.activity_mbq / 1000)
        if not known.low_gy_per_gbq <= value <= known.high_gy_per_gbq:
            low, high = known.low_gy_per_gbq, known.high_gy_per_gbq
            found, _ = apart(value, low if value < low else high)
            yield Finding(
                "organ-dose-implausible",
                Severity.HOLD,
                f"{dose.region} receives {found} Gy/GBq, published are {low:g} to {high:g}: look at "
                f"contours, time points and calibration, then release",
                measured=value,
                limit=known.high_gy_per_gbq,
                unit="Gy/GBq",
                subject=dose.region,
                source=known.source,
            )
    if unknown:
        yield Finding(
            "organ-dose-not-compared",
            Severity.NOTE,
            f"no published range of {nuclide.name} is known here for {', '.join(unknown)}: their doses were "
            f"compared with nothing",
        )
