"""A small patient scanned four times, each time lying a little differently."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dicomnode.model import ActivityMap, Cycle, HuMap, LabelMap, RegisteredCycle, TimePoint
from dicomnode.registration import RegistrationSettings, register
from dicomnode.simulation import SimulatedPatient, SimulatedScan, make_patient, scan
from dicomnode.simulation.scanner import regions_on

MakePoint = Callable[..., TimePoint]


@pytest.fixture(scope="session")
def patient() -> SimulatedPatient:
    return make_patient(1, size="small")


@pytest.fixture(scope="session")
def scans(patient: SimulatedPatient) -> tuple[SimulatedScan, ...]:
    return tuple(scan(patient, hours) for hours in (4.0, 24.0, 72.0, 168.0))


@pytest.fixture(scope="session")
def regions(patient: SimulatedPatient, scans: tuple[SimulatedScan, ...]) -> LabelMap:
    return regions_on(patient, scans[1].activity.grid)


@pytest.fixture(scope="session")
def point() -> MakePoint:
    """Time point of a scan; CT, SPECT and regions may be replaced."""

    def make(
        label: str,
        made: SimulatedScan,
        *,
        ct: HuMap | None = None,
        with_ct: bool = True,
        activity: ActivityMap | None = None,
        regions: LabelMap | None = None,
    ) -> TimePoint:
        return TimePoint(
            label=label,
            acquired_at=made.acquired_at,
            duration_s=made.duration_s,
            activity=activity or made.activity,
            ct=(ct or made.ct) if with_ct else None,
            regions=regions,
            spect_uid=f"2.25.1{label[1:]}",
            ct_uid=f"2.25.2{label[1:]}",
            frame_of_reference_uid=f"2.25.3{label[1:]}",
        )

    return make


@pytest.fixture(scope="session")
def cycle(
    patient: SimulatedPatient, scans: tuple[SimulatedScan, ...], regions: LabelMap, point: MakePoint
) -> Cycle:
    points = (
        point(f"T{n}", made, regions=regions if made.hours == 24.0 else None)
        for n, made in enumerate(scans, 1)
    )
    return Cycle(patient.administration, tuple(points))


@pytest.fixture(scope="session")
def registered(cycle: Cycle) -> RegisteredCycle:
    return register(cycle, RegistrationSettings())
