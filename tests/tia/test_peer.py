"""Beside PyTIA 0.1.0, whose output for the uncalibrated 177Lu-FAP series is kept with the data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dicomnode.files.volumes import read_activity, read_volume
from dicomnode.model import ActivityMap, EnergyPerDecay, Nuclide, RegisteredTimePoint, RegistrationQuality
from dicomnode.tia import TiaSettings, integrate_points

QUALITY = RegistrationQuality("identity", (0.0,) * 6, (0.0, 0.0, 0.0), 1.0, 0.0, 0.0)
TRAPEZOID_WITH_PHYSICAL_TAIL = 10


def test_the_trapezoid_equals_the_peers_where_it_used_one(shared):
    """The peer smooths by 1.2 voxels, starts at zero at t = 0 and adds a physical tail (its summary.yaml);
    its model 10 is that trapezoid (rising voxels) and its map is per voxel, not per mL. The peer is no truth:
    this compares one formula. Median ratio 1 within 0.1 %, half of the voxels within 1 %
    (its smoothing is masked, ours is not)."""
    folder = shared / "real/lu177_fap_multitime"
    points = []
    for name, hours in (("004", 4.0), ("024", 24.0), ("048", 48.0), ("168", 168.0)):
        activity = read_activity(folder / f"input/SPECT-{name}H_reg.nii.gz", lambda *_: True)
        smooth = gaussian_filter(activity.bq_per_ml.astype(float), 1.2)
        points.append(RegisteredTimePoint(name, hours, ActivityMap(activity.grid, smooth), QUALITY))
    nuclide = Nuclide("Lu-177", 574302.48, EnergyPerDecay(0.147, 0.035), "the peer's summary.yaml")
    fit = integrate_points(points, None, nuclide, TiaSettings())
    _, peer = read_volume(folder / "peer_output/Lu177_FAP_4tp_tia.nii.gz", "Bq s", lambda *_: True)
    _, model = read_volume(folder / "peer_output/Lu177_FAP_4tp_model_id.nii.gz", "label")
    used = model == TRAPEZOID_WITH_PHYSICAL_TAIL
    ours = fit.tia.mbq_s_per_ml[used].astype(float) * 1e6 * fit.tia.grid.voxel_ml
    low, middle, high = np.percentile(peer[used] / ours, [25, 50, 75])
    assert middle == pytest.approx(1, abs=1e-3)
    assert (low, high) == (pytest.approx(1, abs=0.01), pytest.approx(1, abs=0.01))
    assert {(f.rule, str(f.severity)) for f in fit.findings} >= {("tia-total-rises", "hold")}
