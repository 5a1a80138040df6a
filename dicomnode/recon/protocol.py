"""How projections become an image: one set of choices, and the digest that calibrations are tied to."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from dicomnode.model import Grid, Settings
from dicomnode.recon.camera.scatter import ScatterMethod, ScatterSettings

Algorithm = Literal[
    "mlem", "osem", "osl", "bsrem", "deep-image-prior", "split-likelihood", "noise2noise", "supervised"
]
LEARNED: tuple[Algorithm, ...] = ("deep-image-prior", "split-likelihood", "noise2noise", "supervised")

CHAIN = 2
"""Raised whenever our own code changes what the same settings give, so that old calibrations are refused."""

WITHOUT_EFFECT_ON_THE_IMAGE = frozenset({"bootstraps"})


class Protocol(Settings):
    """Every choice that shapes the reconstructed image. A calibration belongs to one protocol."""

    algorithm: Algorithm = Field(
        "osem", description="osem is the reference; bsrem is MAP with the relative difference prior"
    )
    iterations: int = Field(10, ge=1, le=500, description="passes through all views of osem and mlem")
    subsets: int = Field(
        10, ge=1, le=60, description="parts of the views, one update each; keep at least 6 views in a part"
    )
    stop: Literal["fixed", "held-out"] = Field(
        "fixed", description="held-out: osem ends where a fifth of the counts, kept aside, is predicted best"
    )
    prior_weight: float | None = Field(
        None,
        gt=0,
        description="weight of the prior, relative to the mean sensitivity; none: chosen by held-out counts",
    )
    filter_fwhm_mm: float = Field(0.0, ge=0, le=50, description="Gaussian filter after osem and mlem, FWHM")
    scatter: ScatterSettings = Field(
        ScatterSettings(), description="scatter from the windows beside the peak; it stays in the model"
    )
    attenuation: bool = Field(True, description="model attenuation by the CT")
    resolution: bool = Field(True, description="model the collimator's and the detector's blur")
    bootstraps: int = Field(
        20, ge=0, le=200, description="repeated reconstructions for the uncertainty; 0: no uncertainty"
    )

    @field_validator("bootstraps")
    @classmethod
    def _none_or_two(cls, value: int) -> int:
        if value == 1:
            raise ValueError("must be 0, or at least 2 for a scatter between them")
        return value

    @model_validator(mode="after")
    def _a_prior_has_its_algorithm(self) -> Self:
        if self.prior_weight is not None and self.algorithm in ("mlem", "osem"):
            raise ValueError(f"prior_weight has no meaning for {self.algorithm}; choose osl or bsrem")
        if self.stop == "held-out" and self.algorithm not in ("mlem", "osem"):
            raise ValueError(f"stop has no meaning for {self.algorithm}; choose osem or mlem")
        return self

    @property
    def automatic(self) -> bool:
        """True where the resolution follows the counts of the scan, so that no phantom's recovery applies.

        Learned methods choose by held-out counts whatever the prior weight is.
        """
        if self.algorithm in ("mlem", "osem"):
            return self.stop == "held-out"
        return self.prior_weight is None or self.algorithm in LEARNED

    @property
    def parts(self) -> int:
        """Parts of the views that an update sees: MLEM sees all of them."""
        return 1 if self.algorithm == "mlem" else self.subsets

    @property
    def quantitative(self) -> bool:
        """True where attenuation and scatter are both in the model."""
        return self.attenuation and self.scatter.method is not ScatterMethod.NONE

    def digest(self, grid: Grid) -> str:
        """16 hexadecimal digits over every choice, the voxel size (0.01 mm) and the version of the chain."""
        choices = self.model_dump(mode="json", exclude=set(WITHOUT_EFFECT_ON_THE_IMAGE))
        voxel = [round(edge, 2) for edge in grid.spacing_mm]
        canonical = json.dumps({"chain": CHAIN, "voxel_mm": voxel, **choices}, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def sentence(self, algorithm: str, scatter: str) -> str:
        """The method in words, for reports and the ReconstructionMethod of objects; of the ``algorithm`` and
        the ``scatter`` method (``scatter.ScatterMethod``) that were used in the end."""
        corrections = [
            *(["AC"] if self.attenuation else []),
            *([f"SC {scatter.upper()}"] if scatter != ScatterMethod.NONE else []),
            *(["RR"] if self.resolution else []),
        ]
        classical = algorithm in ("mlem", "osem")
        subsets = 1 if algorithm == "mlem" else self.subsets
        amount = f"{self.iterations}i{subsets}s" if classical else "MAP"
        if self.stop == "held-out":
            amount = "stopped by held-out counts"
        width = f", Gaussian {self.filter_fwhm_mm:g} mm" if self.filter_fwhm_mm and classical else ""
        return f"{algorithm.upper()} {amount} {' '.join(corrections)}".rstrip() + width
