"""Comparing two dose maps, each measure knowing the Monte Carlo noise of the reference.

``pair.paired`` checks and holds the two maps; every measure takes a ``Pair`` and returns a ``Measure``:

- ``voxelwise``: MAE, MSE, RMSE, their debiased forms, SSIM. ``organs``: error of each region with pass,
  fail or undecided. ``dvh``: distance of the histograms, D2/D50/D98/V. ``gamma``.
- ``sliced``, ``lines``, ``bures``, ``exact``, ``sinkhorn``: optimal transport, mm and Gy mm.
- ``moments``, ``chisquare``, ``polynomial``, ``sos``, ``christoffel``: moments and what follows from them.
- ``scan``: where the maps differ. ``verdict``: gates that add up to pass, fail or undecided.

The evaluated map comes first, the reference second, everywhere; keyword arguments where both are arrays.
"""

from dicomnode.compare.judgement import Judgement, verdict
from dicomnode.compare.measure import Measure
from dicomnode.compare.pair import Pair, paired

__all__ = ["Judgement", "Measure", "Pair", "paired", "verdict"]
