"""What an RT Dose says of itself."""

from __future__ import annotations

import numpy as np

from dicomnode import __version__
from dicomnode.calculation.products import dose_comment
from dicomnode.dose.engine import EngineIdentity
from dicomnode.model import DoseMap, EnergyBalance, Grid

VALUES = np.ones((1, 1, 1), np.float32)


def comment(nuclide: str, alpha: bool) -> str:
    balance = EnergyBalance(1.0, 1.0, 0.0)
    dose = DoseMap(
        Grid((1, 1, 1), (4.0, 4.0, 4.0)), VALUES, VALUES, balance, alpha_gy=VALUES if alpha else None
    )
    return dose_comment(nuclide, EngineIdentity("multi-vsv", "2", {}), dose)


def test_the_dose_of_an_alpha_emitter_says_that_it_is_not_weighted() -> None:
    said = comment("Ac-225", alpha=True)
    assert said.startswith("Ac-225 absorbed dose (RBE 1), multi-vsv 2")
    # LO holds 64 characters (PS3.5 6.2)
    assert len(said) <= 64


def test_the_dose_of_a_beta_emitter_names_nuclide_engine_and_version() -> None:
    assert comment("Lu-177", alpha=False) == f"Lu-177 multi-vsv 2, dicomnode {__version__}"
