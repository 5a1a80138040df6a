"""The writers refuse what they could not say truly."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from dicomnode.dicom.write.scans import Acquisition, Subject, ct_series, nm_recon_tomo, pt_series
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import ActivityMap, Administration, Grid, HuMap

GRID = Grid((3, 4, 5), (2.0, 2.5, 3.0), (1.0, 2.0, 3.0))
AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
ACQUISITION = Acquisition("2.25.1", "2.25.2", "2.25.3", AT, 600.0)
GIVEN = Administration("Lu-177", 7400.0, AT, "177Lu-DOTATATE")
COMMON = {"subject": Subject("1", "A^B"), "acquisition": ACQUISITION}


def _nm(values: np.ndarray, unit: str = "Bq/ml", grid: Grid = GRID, **more: object):
    arguments = {**COMMON, "administration": GIVEN, "sop_instance_uid": "2.25.4", **more}
    return nm_recon_tomo(grid, values.astype(np.float32), unit, **arguments)


@pytest.mark.parametrize(("axis_z", "sign"), [(1.0, 1.0), (-1.0, -1.0)])
def test_slices_against_the_normal_have_a_negative_spacing(axis_z: float, sign: float) -> None:
    # PS3.3 C.8.4.15: NM only, the sign tells on which side of the first the other slices lie.
    grid = replace(GRID, direction=(1, 0, 0, 0, 1, 0, 0, 0, axis_z))
    ds = _nm(np.ones(GRID.shape_zyx), grid=grid)
    assert float(ds.SpacingBetweenSlices) == 3.0 * sign
    assert list(ds.PixelSpacing) == [2.5, 2.0]  # rows first


def test_negative_activity_is_refused() -> None:
    with pytest.raises(OutOfDomain, match="smallest voxel of an NM reconstruction is -1"):
        _nm(-np.ones(GRID.shape_zyx))


def test_counts_that_are_not_whole_are_refused() -> None:
    with pytest.raises(Inconsistent, match="counts must be whole numbers"):
        _nm(np.full(GRID.shape_zyx, 0.5), "counts")


def test_counts_beyond_16_bits_are_refused() -> None:
    with pytest.raises(OutOfDomain, match="up to 65535"):
        _nm(np.full(GRID.shape_zyx, 70000.0), "counts")


def test_another_shape_is_refused() -> None:
    with pytest.raises(Inconsistent, match="the volume has shape"):
        _nm(np.ones((2, 4, 5)))


def test_an_unknown_nuclide_is_refused() -> None:
    with pytest.raises(OutOfDomain, match="Xx-225"):
        _nm(np.ones(GRID.shape_zyx), administration=replace(GIVEN, nuclide="Xx-225"))


def test_a_time_without_zone_is_refused() -> None:
    naive = replace(ACQUISITION, started_at=AT.replace(tzinfo=None))
    with pytest.raises(Inconsistent, match="no time zone"):
        _nm(np.ones(GRID.shape_zyx), acquisition=naive)


def test_ct_numbers_below_the_scale_are_refused() -> None:
    with pytest.raises(OutOfDomain, match="smallest CT number is -2000"):
        ct_series(HuMap(GRID, np.full(GRID.shape_zyx, -2000.0)), uid_of=str, **COMMON)


def test_an_all_zero_volume_can_be_written() -> None:
    assert _nm(np.zeros(GRID.shape_zyx)).pixel_array.max() == 0
    empty = ActivityMap(GRID, np.zeros(GRID.shape_zyx))
    slices = pt_series(empty, administration=GIVEN, uid_of=lambda k: f"2.25.{k}", **COMMON)
    assert all(ds.pixel_array.max() == 0 for ds in slices)
