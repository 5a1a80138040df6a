"""A small torso: CT, regions, TIA with fitted organ curves, and dose by local deposition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, log

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dicomnode.dicom.reference import PatientStudy
from dicomnode.dicom.uids import named_uid
from dicomnode.model import (
    ActivityMap,
    Administration,
    DensityMap,
    DoseMap,
    EnergyBalance,
    Finding,
    Grid,
    HuMap,
    LabelMap,
    Provenance,
    RegionTia,
    RegisteredCycle,
    RegisteredTimePoint,
    RegistrationQuality,
    Severity,
    TiaFit,
    TiaMap,
    Verdict,
)

# name: centre x, y, z and half-axes, mm; HU; activity at 24 h, MBq; effective half-life, h
ORGANS = {
    "liver": ((-60, -10, 30), (75, 65, 55), 60, 260.0, 79.0),
    "spleen": ((95, 30, 40), (28, 38, 45), 50, 60.0, 67.0),
    "left kidney": ((65, 50, -40), (24, 24, 50), 35, 45.0, 51.0),
    "right kidney": ((-65, 50, -45), (24, 24, 50), 35, 48.0, 51.0),
    "lesion in liver": ((-80, -20, 45), (16, 16, 16), 55, 30.0, 90.0),
    "lesion 2": ((10, 30, -60), (10, 10, 10), 45, 9.0, 77.0),
}
HOURS = (4.0, 24.0, 72.0, 168.0)
GY_PER_MBQ_S_PER_G = 0.1479 * 1.602176634e-4
"""1 MBq s/g of 177Lu electrons, 0.1479 MeV per decay (ICRP 107): 1e6 x 0.1479 x 1.602e-13 J x 1e3 g/kg."""


@dataclass(frozen=True)
class Torso:
    ct: HuMap
    density: DensityMap
    regions: LabelMap
    fit: TiaFit
    dose: DoseMap
    cycle: RegisteredCycle
    verdict: Verdict
    provenance: Provenance
    patient: PatientStudy


def ellipsoid(grid: Grid, centre: tuple[float, ...], half: tuple[float, ...]) -> np.ndarray:
    k, j, i = np.indices(grid.shape_zyx)
    points = grid.to_patient_mm(np.stack([i, j, k], axis=-1))
    return (((points - np.array(centre)) / np.array(half)) ** 2).sum(axis=-1) <= 1.0


def hu_of(grid: Grid, seed: int = 1) -> np.ndarray:
    hu = np.full(grid.shape_zyx, -1000.0)
    hu[ellipsoid(grid, (0, 0, 0), (170, 115, 1000))] = -90.0
    hu[ellipsoid(grid, (0, 0, 0), (158, 103, 1000))] = 30.0
    for side in (-1, 1):
        hu[ellipsoid(grid, (side * 75, -5, 150), (55, 75, 95))] = -820.0
    hu[ellipsoid(grid, (0, 62, 0), (19, 17, 1000))] = 260.0
    for centre, half, value, _, _ in ORGANS.values():
        hu[ellipsoid(grid, centre, half)] = value
    return hu + np.random.default_rng(seed).normal(0.0, 12.0, hu.shape)


def curve(region: str, activity_24h: float, half_life_h: float) -> RegionTia:
    rate = log(2.0) / half_life_h
    start = activity_24h * exp(rate * 24.0)
    noise = np.random.default_rng(len(region)).normal(1.0, 0.03, len(HOURS))
    measured = tuple(float(start * exp(-rate * h) * n) for h, n in zip(HOURS, noise, strict=True))
    return RegionTia(
        region=region,
        hours=HOURS,
        activity_mbq=measured,
        sigma_mbq=tuple(0.06 * a for a in measured),
        method="mono-exponential",
        tia_mbq_s=start / rate * 3600.0,
        sigma_tia_mbq_s=0.08 * start / rate * 3600.0,
        parameters={"a1_mbq": start, "lambda1_per_h": rate},
    )


@pytest.fixture(scope="session")
def torso() -> Torso:
    grid = Grid((72, 60, 80), (4.8, 4.8, 4.8), (-189.6, -141.6, -150.0))
    fine = Grid((115, 150, 200), (1.9, 1.9, 3.0), (-189.0, -141.0, -150.0))
    masks = {"body": ellipsoid(grid, (0, 0, 0), (170, 115, 1000))}
    masks |= {name: ellipsoid(grid, centre, half) for name, (centre, half, *_) in ORGANS.items()}
    masks["liver"] &= ~masks["lesion in liver"]
    curves = [curve(name, values[3], values[4]) for name, values in ORGANS.items()]
    tia = np.where(masks["body"], 0.5, 0.0)
    for one in curves:
        mask = masks[one.region]
        tia[mask] = one.tia_mbq_s / (np.count_nonzero(mask) * grid.voxel_ml)
    tia = gaussian_filter(tia, 12.0 / 2.355 / 4.8).astype(np.float32)
    tia *= np.random.default_rng(5).normal(1.0, 0.03, tia.shape)
    hu = hu_of(grid)
    density = DensityMap(grid, np.clip(1.0 + hu / 1000.0, 0.0012, None))
    gy = tia * GY_PER_MBQ_S_PER_G / np.maximum(density.g_per_cm3, 0.2)
    whole = curve("field-of-view", 700.0, 75.0)
    fit = TiaFit(TiaMap(grid, tia), TiaMap(grid, 0.1 * np.abs(tia)), "mono-exponential", (*curves, whole))
    quality = RegistrationQuality("ct-ct", (0.0,) * 6, (0.0, 0.0, 0.0), 0.97, 1.1, 1.4)
    administration = Administration(
        "Lu-177", 7385.0, datetime(2026, 3, 2, 10, 15, tzinfo=UTC), "[177Lu]Lu-DOTATATE", 42.0, "person:AB"
    )
    points = tuple(
        RegisteredTimePoint(f"T{n + 1}", h, ActivityMap(grid, np.zeros(grid.shape_zyx)), quality)
        for n, h in enumerate(HOURS)
    )
    ct, regions = HuMap(fine, hu_of(fine)), LabelMap(grid, masks)
    verdict = Verdict.of(
        [
            Finding(
                "half-life-differs",
                Severity.WARNING,
                "The header of T2 states a half-life 1.4 % from that of ICRP 107: the table was used.",
            ),
            Finding(
                "registration",
                Severity.NOTE,
                "All time points were registered on T2 with a residual shift below 2 mm.",
            ),
        ]
    )
    provenance = Provenance(
        "0.1.0", "c0ffee" * 10, {}, "vsv 1.0", {}, {}, 0,
        datetime(2026, 3, 9, 16, 0, tzinfo=UTC), datetime(2026, 3, 9, 16, 1, tzinfo=UTC),
    )  # fmt: skip
    return Torso(
        ct,
        density,
        regions,
        fit,
        DoseMap(grid, gy, 0.05 * gy, EnergyBalance(1.0, 0.9, 0.1)),
        RegisteredCycle(administration, points, "T2", ct, regions, named_uid("frame")),
        verdict,
        provenance,
        PatientStudy(
            "Müster^Erika^^^",
            "0815-4711",
            named_uid("study"),
            birth_date="19560304",
            sex="F",
            study_date="20260303",
            study_time="101500",
            study_id="1",
            accession_number="A123456",
            referring_physician="Curie^M",
            frame_of_reference_uid=named_uid("frame"),
        ),
    )
