"""Volumes for the review page: other programs open them, and no voxel moves."""

from __future__ import annotations

import gzip
import json
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from dicomnode.calculation import shown
from dicomnode.files.volumes import read_volume
from dicomnode.model import Grid, HuMap, LabelMap


def written(content: bytes, path: Path) -> Path:
    path.write_bytes(gzip.decompress(content))
    return path


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_voxel_stays_where_it_was_in_the_patient(
    order: tuple[int, ...], signs: tuple[int, ...], tmp_path: Path
) -> None:
    """48 orientations: the value at a place in the patient, read by SimpleITK, is the one put in there."""
    axes = np.zeros((3, 3))
    for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
        axes[row, column] = sign
    grid = Grid((3, 4, 5), (2.0, 3.0, 4.5), (-7.0, 11.0, 20.0), tuple(axes.ravel()))
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    path = written(shown.packed(grid, values, "Absorbed dose", "Gy"), tmp_path / "v.mha")
    found, there = read_volume(path, "Gy")
    assert np.allclose(found.axes, np.eye(3))
    for k, j, i in np.ndindex(3, 4, 5):
        at = np.rint(found.to_index(grid.to_patient_mm((i, j, k)))).astype(int)
        assert there[at[2], at[1], at[0]] == values[k, j, i]


def test_the_unit_of_the_file_is_checked_by_who_reads_it(tmp_path: Path) -> None:
    path = written(
        shown.packed(Grid((1, 1, 2), (1, 1, 1)), np.ones((1, 1, 2), "f4"), "d", "Gy"), tmp_path / "v.mha"
    )
    with pytest.raises(Exception, match="the file is in Gy, here MBq s/mL is needed"):
        read_volume(path, "MBq s/mL")


def test_an_oblique_grid_is_refused() -> None:
    c, s = np.cos(0.1), np.sin(0.1)
    grid = Grid((2, 2, 2), (1, 1, 1), (0, 0, 0), (c, -s, 0, s, c, 0, 0, 0, 1))
    assert shown.is_oblique(grid)
    with pytest.raises(Exception, match="oblique"):
        shown.packed(grid, np.ones((2, 2, 2), "f4"), "d", "Gy")


def test_overlapping_regions_are_bits_of_one_voxel_and_more_than_32_fill_a_second_volume() -> None:
    grid = Grid((1, 1, 40), (1, 1, 1))
    masks = {f"r{n}": (np.arange(40) >= n).reshape(1, 1, 40) for n in range(34)}
    regions = LabelMap(grid, masks)
    first = shown.bits(regions, regions.names[:32])
    assert first[0, 0, 0] == 1
    assert first[0, 0, 39] == 2**32 - 1
    assert shown.bits(regions, regions.names[32:])[0, 0, 39] == 3


def test_the_ct_is_cut_to_the_body_and_averaged_over_whole_voxels() -> None:
    """0.98 mm by 3 mm: two voxels in plane become one (1.96 mm), slices stay; a ramp keeps its place."""
    grid = Grid((6, 40, 40), (0.98, 0.98, 3.0), (-19.0, -19.0, 0.0))
    x = np.arange(40) * 0.98 - 19.0
    ct = HuMap(grid, np.broadcast_to(10.0 * x, (6, 40, 40)).astype("f4"))
    coarse = shown.coarse(ct, np.array([[-5.0, -5.0, 3.0], [5.0, 5.0, 9.0]]))
    assert coarse.grid.spacing_mm == pytest.approx((1.96, 1.96, 3.0))
    assert coarse.grid.shape_zyx[0] == 3
    xs = [float(coarse.grid.to_patient_mm((i, 0, 0))[0]) for i in range(coarse.grid.shape_zyx[2])]
    np.testing.assert_allclose(coarse.hu[0, 0], 10.0 * np.array(xs), atol=1e-3)


def test_shortened_activity_is_within_a_twentieth_of_a_percent() -> None:
    values = np.geomspace(1e-3, 1e7, 1000).astype("f4")
    assert np.abs(shown.shortened(values) / values - 1).max() < 5e-4


def test_the_same_volume_gives_the_same_bytes() -> None:
    grid, values = Grid((2, 2, 2), (1, 1, 1)), np.ones((2, 2, 2), "f4")
    assert shown.packed(grid, values, "d", "Gy", ["é"]) == shown.packed(grid, values, "d", "Gy", ["é"])
    assert json.loads(
        gzip.decompress(shown.packed(grid, values, "d", "Gy", ["é"])).split(b"names = ")[1].split(b"\n")[0]
    ) == ["é"]
