"""Where several entries of a list in the configuration fit, their order in the file decides nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from pydantic import ValidationError

from dicomnode.config import Config
from dicomnode.cycle.calibration import matching
from dicomnode.cycle.settings import CalibrationRecord, CycleSettings
from dicomnode.errors import Inconsistent
from dicomnode.model import Grid
from dicomnode.model.series import EmissionVolume
from dicomnode.receive.settings import PeerSettings, ReceiveSettings
from dicomnode.recon.settings import CameraSettings, ReconSettings

VOLUME = EmissionVolume(
    Grid((2, 2, 2), (4.0, 4.0, 4.0)),
    np.ones((2, 2, 2), np.float32),
    "counts", datetime(2026, 3, 10, 9, tzinfo=UTC), 1800.0, "START", None, "Lu-177", 574300.0, "1.2", "1.3",
    facts={"manufacturer": "ACME", "model": "Two", "station": "ROOM1"},
)  # fmt: skip


def record(name: str, cps: float, **more: object) -> CalibrationRecord:
    return CalibrationRecord(name=name, manufacturer="ACME", sensitivity_cps_per_mbq=cps, **more)


@pytest.mark.parametrize("turned", [False, True])
def test_the_latest_calibration_before_the_scan_counts_in_either_order(turned) -> None:
    """A factor of 2 was decided by the order in the file; the record of 2026 counts for a scan of 2026."""
    records = [
        record("old", 5.0, valid_from=date(2025, 1, 1)),
        record("new", 10.0, valid_from=date(2026, 1, 1)),
        record("next", 20.0, valid_from=date(2026, 6, 1)),
    ]
    found = matching(VOLUME, "Lu-177", records[::-1] if turned else records)
    assert found is not None
    assert found.name == "new"


def test_two_calibrations_that_fit_and_differ_are_refused() -> None:
    records = [record("of the camera", 5.0), record("of the room", 10.0, station="ROOM1")]
    with pytest.raises(Inconsistent, match="'of the camera' and 'of the room' all fit and differ"):
        matching(VOLUME, "Lu-177", records)
    assert matching(VOLUME, "Lu-177", [records[0], record("of the room", 5.0, station="ROOM1")]) is not None
    assert matching(replace(VOLUME, facts={"manufacturer": "Other"}), "Lu-177", records) is None


def test_two_cameras_that_fit_and_differ_are_refused() -> None:
    settings = ReconSettings(
        camera=(
            CameraSettings(manufacturer="ACME", collimator="siemens-mel"),
            CameraSettings(manufacturer="ACME", grid_name="ME", collimator="siemens-melp"),
        )
    )
    assert settings.camera_of("ACME", "Two", "LEHR", "1.2").collimator == "siemens-mel"
    with pytest.raises(Inconsistent, match="'siemens-mel' and 'siemens-melp' all fit and differ"):
        settings.camera_of("ACME", "Two", "MELP", "1.2")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CycleSettings(calibration=(record("a", 5.0), record("b", 10.0))), "'a' and 'b' of"),
        (
            lambda: ReconSettings(camera=(CameraSettings(collimator="x"), CameraSettings(collimator="y"))),
            "'x' and 'y' of",
        ),
        (
            lambda: ReceiveSettings(
                peers=(
                    PeerSettings(ae_title="PACS", addresses=("10.0.0.0/24",), commitment_host="one"),
                    PeerSettings(ae_title="PACS", addresses=("10.0.0.7",), commitment_host="two"),
                )
            ),
            "PACS is listed twice for one address",
        ),
        (
            lambda: Config.model_validate(
                {
                    "administration": [
                        {"patient_id": "P", "nuclide": "Lu-177", "activity_mbq": a, "at": "2026-03-02T09:00"}
                        for a in (7400.0, 3700.0)
                    ]
                }
            ),
            "7400 MBq at 2026-03-02 09:00 and 3700 MBq",
        ),
    ],
)
def test_entries_that_contradict_each_other_in_the_file_are_its_fault(make, said) -> None:
    with pytest.raises(ValidationError, match=said):
        make()


def test_entries_for_different_things_stand_side_by_side() -> None:
    CycleSettings(calibration=(record("a", 5.0), record("b", 9.0, nuclide="I-131"), record("c", 5.0)))
    ReceiveSettings(
        peers=tuple(PeerSettings(ae_title="PACS", addresses=(a,)) for a in ("10.0.0.1", "10.0.0.2", "::1"))
    )
