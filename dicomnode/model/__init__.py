"""The nouns: immutable values with their units, used by every room. Nothing here reads or writes."""

from dicomnode.model.counting_noise import CountingNoise
from dicomnode.model.cycle import (
    Administration,
    Cycle,
    RegisteredCycle,
    RegisteredTimePoint,
    RegistrationQuality,
    TimePoint,
)
from dicomnode.model.findings import Finding, Severity, Verdict, each_once, line_of
from dicomnode.model.grid import Grid
from dicomnode.model.nuclide import EnergyPerDecay, Nuclide
from dicomnode.model.organs import OrganDose, RegionTia, TiaFit
from dicomnode.model.provenance import Provenance
from dicomnode.model.recovery import RegionRecovery
from dicomnode.model.settings import Settings
from dicomnode.model.volumes import (
    ActivityMap,
    Anatomy,
    BatchNoise,
    DensityMap,
    DoseMap,
    EnergyBalance,
    HuMap,
    LabelMap,
    TiaMap,
)

__all__ = [
    "ActivityMap",
    "Administration",
    "Anatomy",
    "BatchNoise",
    "CountingNoise",
    "Cycle",
    "DensityMap",
    "DoseMap",
    "EnergyBalance",
    "EnergyPerDecay",
    "Finding",
    "Grid",
    "HuMap",
    "LabelMap",
    "Nuclide",
    "OrganDose",
    "Provenance",
    "RegionRecovery",
    "RegionTia",
    "RegisteredCycle",
    "RegisteredTimePoint",
    "RegistrationQuality",
    "Settings",
    "Severity",
    "TiaFit",
    "TiaMap",
    "TimePoint",
    "Verdict",
    "each_once",
    "line_of",
]
