"""Numbers of others that both the study and the tests compare with."""

from __future__ import annotations

import numpy as np

# First and second transport cross sections of H2O as two atoms and one, electrons and positrons, cm2: Dirac
# partial waves of ELSEPA (Salvat, Jablonski, Powell, Comput Phys Commun 165 (2005) 157; Dirac-Fock density
# with exchange), as in the material file of water of PENELOPE 2018. MeV, then both of electrons and both of
# positrons.
ELSEPA_WATER = np.array([
    [0.02, 3.30881e-20, 8.28162e-20, 3.10752e-20, 7.80155e-20],
    [0.05, 6.37194e-21, 1.64770e-20, 6.12793e-21, 1.58756e-20],
    [0.1, 1.88220e-21, 4.98030e-21, 1.81957e-21, 4.82483e-21],
    [0.2, 5.81067e-22, 1.57266e-21, 5.63917e-22, 1.53034e-21],
    [0.4, 1.90841e-22, 5.27210e-22, 1.84538e-22, 5.11586e-22],
    [1.0, 4.67807e-23, 1.31869e-22, 4.51958e-23, 1.27926e-22],
])  # fmt: skip

EGSNRC_RATE = (0.7e5, 1.6e5)
"""Decays of 177Lu per CPU second and core, range rejection included. The lower is that of the reference's
README (shared/reference/egsnrc: phantom a, 73,000); both are what the project measured before it began."""
