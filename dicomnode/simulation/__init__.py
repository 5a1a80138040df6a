"""Generated patients and phantoms: anatomy, kinetics and imaging whose truth is known."""

from dicomnode.simulation.patient import SimulatedPatient, make_patient
from dicomnode.simulation.scanner import SimulatedScan, scan

__all__ = ["SimulatedPatient", "SimulatedScan", "make_patient", "scan"]
