"""Makes pytomography_golden.npz: python tests/recon/make_pytomography_golden.py ORACLE_PYTHON SHARED.

One minute, with PYTHONPATH=. beside it. ORACLE_PYTHON has pytomography==3.4.0; SHARED is the data folder
beside the checkout.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.oracle.pytomography import PyTomographyModel
from dicomnode.recon.camera.model import Geometry
from dicomnode.recon.camera.scatter import ScatterSettings, estimate_scatter
from tests.recon.synthetic_nema import nema_set
from tests.recon.test_pytomography import GOLDEN, RESPONSE, asymmetric


def main() -> None:
    interpreter, shared = Path(sys.argv[1]), Path(sys.argv[2])
    geometry, image, mu = asymmetric()
    with PyTomographyModel(geometry, RESPONSE, mu, interpreter=interpreter) as model:
        projections = model.forward(torch.from_numpy(image)).numpy()
    nema = nema_set(shared / "real" / "spect_raw" / "synthetic_nema_lu177")
    measured = nema.projections
    scatter = estimate_scatter(measured, ScatterSettings()).counts
    counts = torch.from_numpy(measured.counts[measured.peak].astype(np.float32))
    with PyTomographyModel(Geometry.of(measured), RESPONSE, nema.mu_per_cm, interpreter=interpreter) as model:
        osem = model.osem(counts, torch.from_numpy(scatter), subsets=10, iterations=3).numpy()
    np.savez_compressed(GOLDEN, projections=projections, nema_mbq=nema.mbq(osem),
                        nema_recoveries=nema.sphere_recoveries(osem))  # fmt: skip


if __name__ == "__main__":
    main()
