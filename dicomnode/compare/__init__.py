"""Comparing two dose maps, each measure knowing the Monte Carlo noise of the reference.

``pair.paired`` checks and holds the two maps; every measure takes a ``Pair`` and returns a ``Measure``:

- ``classical``: voxelwise MAE, MSE, RMSE, their debiased forms, SSIM; the error of each region with pass,
  fail or undecided; distance of the histograms, D2/D50/D98/V; gamma.
- ``transport``: sliced, Bures, exact and entropic optimal transport, mm and Gy mm.
- ``moments``: tests on moments of the difference, and where the maps differ (``scan_statistic``).
- ``judgement``: gates that add up to pass, fail or undecided (``verdict``).

The evaluated map comes first, the reference second, everywhere; keyword arguments where both are arrays.
"""

from dicomnode.compare.judgement.verdict import Judgement, verdict
from dicomnode.compare.measure import Measure
from dicomnode.compare.pair import Pair, paired

__all__ = ["Judgement", "Measure", "Pair", "paired", "verdict"]
