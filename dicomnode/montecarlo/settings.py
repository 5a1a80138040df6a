"""Settings of the transport and of when to stop."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from dicomnode.model import Settings
from dicomnode.montecarlo.world import Cuts


class TransportSettings(Settings):
    """Settings of the Monte Carlo. Defaults by the convergence study in docs/physics.md."""

    decays: float | None = Field(
        default=None, gt=0, le=1e13, description="simulate so many decays of electrons and of photons each"
    )
    uncertainty: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="stop when the mean relative standard uncertainty where the dose is above 20 % of its "
        "maximum is below this; 0.01 where nothing else is asked",
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="stop after this time, s; the result then depends on the machine",
    )
    batches: int = Field(
        default=20, ge=5, le=1000, description="independent batches: the uncertainty is known to 1/sqrt(2 n)"
    )
    threads: int = Field(
        default=0, ge=0, le=1024, description="threads, 0 for all cores; no effect on the result"
    )
    device: Literal["cpu", "cuda", "auto"] = Field(
        default="cpu",
        description="cuda: the NVIDIA GPUs of this machine, an error where there is none; auto: GPUs where "
        "there are any, otherwise the CPU. The two round differently, and the record says which it was",
    )
    scheduler: str = Field(
        default="",
        description="Dask scheduler whose workers share the batches (tcp://host:port); empty: here",
    )
    electron_cut_kev: float = Field(
        default=10.0, ge=5, le=100, description="electrons below stop here: 2.5 um of water at 10 keV"
    )
    photon_cut_kev: float = Field(
        default=1.0, ge=1, le=50, description="photons below are absorbed on the spot: 2 um of water at 1 keV"
    )
    delta_cut_kev: float = Field(
        default=10.0,
        ge=5,
        le=200,
        description="collisions that pass on more are single events, which make straggling and delta rays",
    )
    bremsstrahlung_cut_kev: float = Field(
        default=10.0, ge=1, le=200, description="bremsstrahlung photons above are followed"
    )
    step_transport_lengths: float = Field(
        default=0.05, ge=0.01, le=0.3, description="length of a condensed step in transport mean free paths"
    )
    shared_block_voxels: int = Field(
        default=1,
        ge=1,
        le=32,
        description="electrons of blocks of so many voxels along an edge share their histories: 8 makes the "
        "variance of a voxel 4 times less, but errors of neighbours alike; 1: voxels are independent",
    )
    minimum_density_g_per_cm3: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="dose in thinner voxels of the body (gas) is that of this density: air is never hot",
    )
    dose_to: Literal["medium", "water"] = Field(
        default="medium",
        description="water: the dose to medium times the ratio of collision stopping powers at 100 keV",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.delta_cut_kev < self.electron_cut_kev:
            raise ValueError("delta_cut_kev is below electron_cut_kev: such electrons would not be followed")
        if self.scheduler and self.device == "auto":
            raise ValueError("device = auto with a scheduler: its workers might differ; say cpu or cuda")
        return self

    @property
    def cuts(self) -> Cuts:
        """Cut-offs in MeV."""
        return Cuts(
            electron=self.electron_cut_kev * 1e-3,
            photon=self.photon_cut_kev * 1e-3,
            delta=self.delta_cut_kev * 1e-3,
            brems=self.bremsstrahlung_cut_kev * 1e-3,
            step_k=self.step_transport_lengths,
        )

    @property
    def goal(self) -> float | None:
        """Uncertainty to reach, if any."""
        if self.uncertainty is None and self.decays is None and self.seconds is None:
            return 0.01
        return self.uncertainty
