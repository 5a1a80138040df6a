"""PyTomography 3.4.0 as judge: projections in the same geometry, and OSEM on the same counts.

The numbers kept in pytomography_golden.npz were made by make_pytomography_golden.py. Where an interpreter
with pytomography is at hand (``make oracle``, or DICOMNODE_PYTOMOGRAPHY=its python), it is asked anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from benchmarks.oracle.pytomography import PyTomographyModel
from dicomnode.errors import EngineUnavailable
from dicomnode.recon.algorithms.iterative import osem
from dicomnode.recon.camera.collimator import Response
from dicomnode.recon.camera.model import Geometry, SystemModel
from dicomnode.recon.camera.projector import ParallelHoleModel
from dicomnode.recon.camera.scatter import ScatterSettings, estimate_scatter
from tests.recon.synthetic_nema import NemaSet, nema_set

GOLDEN = Path(__file__).with_name("pytomography_golden.npz")
RESPONSE = Response(0.03162, 1.2485, 1.324)  # what PyTomography has for SY-ME at 208 keV
INTERPRETER = Path(
    os.environ.get("DICOMNODE_PYTOMOGRAPHY", Path(__file__).parents[2] / ".venv-oracle" / "bin" / "python")
)


def asymmetric() -> tuple[Geometry, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A body with a cold lung and two hot balls, nothing of it symmetric, seen from a non-circular orbit."""
    size, planes, views, edge = 32, 20, 12, 4.8
    angle = np.arange(views) * 360.0 / views + 5
    geometry = Geometry((planes, size, size), (edge, edge), angle, 150 + 20 * np.cos(np.deg2rad(angle)))
    across, along = (np.arange(n) * edge - (n - 1) / 2 * edge for n in (size, planes))
    z, y, x = np.meshgrid(along, across, across, indexing="ij", sparse=True)
    inside = ((y / 45) ** 2 + (x / 62) ** 2 < 1) & (np.abs(z) < 40)
    lung = (x + 25) ** 2 + (y - 5) ** 2 < 15**2
    hot = 8.0 * ((x - 30) ** 2 + (y - 10) ** 2 + (z - 9) ** 2 < 14**2)
    warm = 4.0 * ((x + 20) ** 2 + (y + 15) ** 2 + (z + 15) ** 2 < 10**2)
    image = inside + hot + warm
    return geometry, image.astype(np.float32), (inside * (0.135 - 0.1 * lung)).astype(np.float32)


@pytest.fixture(scope="module")
def nema(shared: Path) -> NemaSet:
    return nema_set(shared / "real" / "spect_raw" / "synthetic_nema_lu177")


@pytest.fixture
def judge() -> Iterator[SystemModel]:
    geometry, _, mu = asymmetric()
    if not INTERPRETER.exists():
        pytest.skip("needs an interpreter with pytomography: make oracle, or DICOMNODE_PYTOMOGRAPHY")
    with PyTomographyModel(geometry, RESPONSE, mu, interpreter=INTERPRETER) as model:
        yield model


def test_projections_equal_pytomographys_within_half_a_percent() -> None:
    """Asked: 0.5 % of the peak. Found: 0.004 %, the sums equal to 5e-6."""
    geometry, image, mu = asymmetric()
    ours = ParallelHoleModel(geometry, RESPONSE, mu).forward(torch.from_numpy(image)).numpy()
    theirs = np.load(GOLDEN)["projections"]
    assert np.abs(ours - theirs).max() < 2e-4 * theirs.max()
    assert ours.sum() == pytest.approx(theirs.sum(), rel=1e-4)


def test_osem_on_the_synthetic_set_recovers_as_pytomographys_within_a_percent(nema: NemaSet) -> None:
    """3 x 10 updates, same counts, scatter and attenuation. The truth is 487.3 MBq."""
    golden = np.load(GOLDEN)
    model = ParallelHoleModel(Geometry.of(nema.projections), RESPONSE, nema.mu_per_cm)
    scatter = estimate_scatter(nema.projections, ScatterSettings())
    counts = torch.from_numpy(nema.projections.counts[nema.projections.peak].astype(np.float32))
    image = osem(model, counts, torch.from_numpy(scatter.counts), subsets=10, iterations=3).numpy()
    assert nema.mbq(image) == pytest.approx(float(golden["nema_mbq"]), rel=0.002)
    assert nema.mbq(image) == pytest.approx(nema.total_mbq, rel=0.01)
    assert nema.sphere_recoveries(image) == pytest.approx(golden["nema_recoveries"], rel=0.01)


def test_pytomography_answers_as_a_system_model_of_its_own_process(judge: SystemModel) -> None:
    """Its forward projection is ours; its back projection is no exact transpose, so only sums agree."""
    geometry, image, mu = asymmetric()
    ours = ParallelHoleModel(geometry, RESPONSE, mu)
    views = [1, 4, 9]
    seen = judge.forward(torch.from_numpy(image), views)
    np.testing.assert_allclose(seen, np.load(GOLDEN)["projections"][views], atol=1e-4 * float(seen.max()))
    back = judge.adjoint(seen, views)
    mask = torch.from_numpy(mu > 0)
    assert float(back[mask].sum()) == pytest.approx(float(ours.adjoint(seen, views)[mask].sum()), rel=2e-3)
    assert judge.sensitivity(views).shape == image.shape


def test_an_interpreter_without_pytomography_is_told_so(tmp_path: Path) -> None:
    import sys

    geometry, _, _ = asymmetric()
    with pytest.raises(EngineUnavailable, match="No module named 'pytomography'"):
        PyTomographyModel(geometry, None, None, interpreter=Path(sys.executable))
    with pytest.raises(EngineUnavailable, match="does not run"):
        PyTomographyModel(geometry, None, None, interpreter=tmp_path / "python")
