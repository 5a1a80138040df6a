"""The synthetic 177Lu NEMA set with its truth, for tests: reader, attenuation map and masks together."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pydicom

from dicomnode.dicom.projections.projections import read_projections
from dicomnode.model import Grid, HuMap
from dicomnode.model.projections import Projections
from dicomnode.recon.camera.attenuation import attenuation_map

Float32 = npt.NDArray[np.float32]

SPHERES_MM = (10, 13, 17, 22, 28, 37)


@dataclass(frozen=True, eq=False)
class NemaSet:
    """Measured counts, attenuation map and truth. ``masks`` are the share of each voxel in a region."""

    projections: Projections
    mu_per_cm: Float32
    masks: dict[str, Float32]
    total_mbq: float
    background_mbq: float
    counts_per_mbq: float
    """Counts per view of 1 MBq that reach the camera."""

    def mbq(self, image: Float32) -> float:
        return float(image.sum(dtype=np.float64)) / self.counts_per_mbq

    def recovery(self, image: Float32, region: str, contrast: float) -> float:
        """Mean over the exact region over the true concentration."""
        mask = self.masks[region]
        mean = float((image * mask).sum(dtype=np.float64) / mask.sum(dtype=np.float64))
        return mean / self.counts_per_mbq / (self.background_mbq * contrast)

    def sphere_recoveries(self, image: Float32) -> list[float]:
        return [self.recovery(image, f"{diameter}mm", 10.0) for diameter in SPHERES_MM]


def nema_set(folder: Path) -> NemaSet:
    """From the folder synthetic_nema_lu177."""
    projections = read_projections([folder / "nm_tomo.dcm"], ZoneInfo("UTC"))
    truth, state = np.load(folder / "truth.npz"), json.loads((folder / "truth.json").read_text())
    first = (projections.grid.shape_zyx[0] - truth["act_rel"].shape[2]) // 2

    def placed(name: str) -> Float32:
        whole = np.zeros(projections.grid.shape_zyx, np.float32)
        part = truth[name].astype(np.float32).transpose(2, 1, 0)  # truth is (x, y, z)
        whole[first : first + len(part)] = part
        return whole

    mu = attenuation_map(_ct(folder / "CT"), projections.grid, 208.4, 130.0).per_cm
    masks = {name.removeprefix("mask_"): placed(name) for name in truth.files if name.startswith("mask_")}
    return NemaSet(projections, mu, masks | {"activity": placed("act_rel")}, state["total_MBq"],
                   state["bkg_MBq_per_mL"] * state["voxel_mL"],
                   state["sens_cps_per_MBq_per_head"] * state["frame_s"])  # fmt: skip


def _ct(folder: Path) -> HuMap:
    slices = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    slices.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    hu = np.stack([one.pixel_array * one.RescaleSlope + one.RescaleIntercept for one in slices])
    step = float(slices[1].ImagePositionPatient[2] - slices[0].ImagePositionPatient[2])
    row, column = (float(edge) for edge in slices[0].PixelSpacing)
    origin = tuple(float(value) for value in slices[0].ImagePositionPatient)
    return HuMap(Grid(hu.shape, (column, row, step), origin), hu.astype(np.float32))
