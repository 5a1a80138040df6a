"""A calculation for an alpha emitter: its progeny are stated, its alpha dose is apart and on record."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from dicomnode.archive.store import Store
from dicomnode.calculation.cycle_dose import compute
from dicomnode.calculation.job import AdministrationJob, Job, Outcome, SeriesFiles, TimePointJob
from dicomnode.config import Config
from dicomnode.physics.chains import with_progeny
from dicomnode.physics.nuclides import nuclide
from tests.helpers.small_patient import write_small_patient


def of_actinium(data: Dataset) -> None:
    """The image of 7400 MBq of 177Lu as one of 7.4 MBq of 225Ac."""
    isotope = data.RadiopharmaceuticalInformationSequence[0]
    isotope.Radiopharmaceutical, isotope.RadionuclideTotalDose = "[225Ac]Ac-PSMA-617", 7.4
    isotope.RadionuclideHalfLife = nuclide("Ac-225").half_life_s
    code = isotope.RadionuclideCodeSequence[0]
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "AC225", "99SITE", "^225^Actinium"
    del isotope.RadiopharmaceuticalCodeSequence
    data.RealWorldValueMappingSequence[0].RealWorldValueSlope /= 1000


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Modality -> files of the visit at 24 h."""
    found: dict[str, list[Path]] = {}
    for path in write_small_patient(tmp_path_factory.mktemp("patient"), (24.0,))[24.0]:
        data = dcmread(path)
        if data.Modality == "NM":
            of_actinium(data)
            data.save_as(path)
        found.setdefault(data.Modality, []).append(path)
    return found


def series(store: Store, paths: list[Path]) -> SeriesFiles:
    read = [(dcmread(path, stop_before_pixels=True), path) for path in paths]
    digests = {str(data.SOPInstanceUID): store.put(path.read_bytes()) for data, path in read}
    return SeriesFiles(uid=str(read[0][0].SeriesInstanceUID), instances=digests)


def computed(folder: Path, visit: dict[str, list[Path]], **sections: Any) -> Outcome:
    store = Store(folder / "store")
    frame = str(dcmread(visit["NM"][0], stop_before_pixels=True).FrameOfReferenceUID)
    point = TimePointJob(
        label="T1", emission=series(store, visit["NM"]), emission_frame=frame, ct=series(store, visit["CT"]),
        ct_frame=frame, structures=(series(store, visit["SEG"]),),
    )  # fmt: skip
    job = Job(
        cycle_id="c", revision_id="r", number=1, created_at=datetime(2026, 4, 1, tzinfo=UTC),
        administration=AdministrationJob(
            nuclide="Ac-225", activity_mbq=7.4, at=datetime.fromisoformat("2026-03-02T09:30:00+01:00")
        ),
        time_points=(point,),
    )  # fmt: skip
    known = {"tia": {"method": "stp-physical"}, "check": {"minimum_activity_mbq": 0.1}}
    config = Config.model_validate(known | sections)
    return compute(job, config, store)


def test_progeny_that_nobody_states_hold_the_cycle(visit, tmp_path):
    outcome = computed(tmp_path, visit)
    assert outcome.products == ()
    assert any("[dose] progeny in config.toml" in f.sentence for f in outcome.verdict.holds)


@pytest.mark.parametrize("engine", ["vsv", "multi-vsv"])
def test_225ac_gets_a_dose_whose_alpha_part_is_on_record(visit, tmp_path, engine):
    """Alphas give 28.0 of 28.9 MeV per decay (ICRP 107), and more in an organ, which photons leave."""
    outcome = computed(
        tmp_path, visit, dose={"engine": engine, "progeny": "equilibrium"}, results={"alpha_rbe": 5.0}
    )
    assert outcome.verdict.release, outcome.verdict.holds
    step = next(s for s in outcome.steps if s.name == "dose")
    assert {"dose", "sigma", "alpha"} <= step.outputs.keys()
    measured: Any = step.parameters["measured"]
    assert measured["emissions"]["nuclide"] == "Ac-225+progeny"
    assert "Po-213 0.97898" in measured["emissions"]["source"]
    energy = with_progeny("Ac-225").energy
    share = energy.alpha_mev / (energy.alpha_mev + energy.electron_mev + energy.photon_mev)
    kidney = next(o for o in outcome.organs if "kidney" in o.region.lower())
    assert kidney.alpha_gy is not None
    assert share < kidney.alpha_gy / kidney.mean_gy < 0.99
    assert measured["alpha"]["rbe"] == 5.0
    assert measured["alpha"][kidney.region]["weighted_gy"] == pytest.approx(
        kidney.mean_gy + 4 * kidney.alpha_gy
    )
    assert outcome.products
