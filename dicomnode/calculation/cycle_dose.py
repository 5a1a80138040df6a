"""The way of a cycle from its files to objects for the PACS, on one page.

Runs in a worker process of the node, in a notebook (``dicomnode.api``) and in ``dicomnode run``. Every step
is a call into one room; what a step decides comes back as findings. Same job, configuration and software:
same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

from dicomnode.calculation.files import Files
from dicomnode.calculation.job import Job, Outcome
from dicomnode.calculation.products import Answer, write_objects
from dicomnode.calculation.record import Steps
from dicomnode.calculation.recovery import RecoveredCycle, recover_cycle
from dicomnode.calculation.time_points import ReadCycle, read_cycle
from dicomnode.check import rules
from dicomnode.config import Config
from dicomnode.cycle.regions import with_default_regions
from dicomnode.errors import DicomnodeError, NotReady
from dicomnode.model import ActivityMap, Anatomy, Finding, RegisteredCycle, Severity, Verdict

Progress = Callable[[float, str], None]
"""Called with the fraction done (0 to 1) and a word on what is being done."""


REFUSED = "refused-"
"""How the rules begin of findings that say why an input cannot be used at all."""


SAMPLED = ("montecarlo", "gate")
"""Engines whose voxels carry the noise of sampled decays."""


def no_progress(_fraction: float, _what: str) -> None:
    """A Progress that says nothing."""


def compute(job: Job, config: Config, files: Files, progress: Progress = no_progress) -> Outcome:
    """Compute one revision. Never raises for bad data: what cannot be used becomes a finding that holds."""
    steps = Steps(job.accepted)
    steps.found(job.doubts)
    try:
        progress(0.02, "reading images")
        answer = dose_of_cycle(read_cycle(job, config, files, steps), config, progress)
        progress(0.85, "writing objects")
        with steps.step("objects") as step:
            products = write_objects(job, config, files, answer)
            step.digests({p.role: p.file_sha256 for p in products})
    except NotReady:  # what holds is among the findings
        return Outcome(steps.verdict(), steps.done)
    except DicomnodeError as error:
        refusal = Finding(f"{REFUSED}{type(error).__name__}", Severity.HOLD, str(error))
        return Outcome(Verdict.of([*steps.verdict().findings, refusal]), steps.done)
    progress(1.0, f"done at {datetime.now(UTC):%H:%M:%S}")
    return Outcome(answer.verdict, steps.done, products, answer.organs, answer.fit.regions)


def dose_of_cycle(read: ReadCycle, config: Config, progress: Progress = no_progress) -> Answer:
    """Absorbed dose of a cycle whose images are read; the record in ``read.steps`` goes on.

    Raises NotReady where a finding holds before there is a dose, and what the rooms raise.
    """
    from dicomnode.dose.registry import build
    from dicomnode.physics.chains import stated
    from dicomnode.results.noise import hot_voxel_noise
    from dicomnode.results.organs import alpha_record, organ_doses
    from dicomnode.results.recovered import with_recovery
    from dicomnode.tia import integrate

    cycle, nuclide, steps = read.cycle, read.nuclide, read.steps
    administration = cycle.administration
    _check_time_points(read, config)
    registered = _registered(read, config, progress)
    body = _anatomy(registered, config)
    regions = with_default_regions(registered.regions, body.body, _reference_activity(registered))

    progress(0.45, "integrating activity over time")
    agent = administration.nuclide, administration.radiopharmaceutical
    of_agent, record = config.tia.of_agent(*agent), config.tia.agent(*agent)
    with steps.step("tia", **of_agent.model_dump()) as step:
        fit = integrate(registered, nuclide, of_agent)
        step.outputs({"tia": fit.tia.mbq_s_per_ml, "sigma": fit.sigma.mbq_s_per_ml})
    steps.found(fit.findings)
    tolerance = config.check.image_total_tolerance
    steps.found(rules.tia_below_administered(fit, administration, nuclide, tolerance))
    if record is None or not record.permanent:  # of an implant the tail is physical decay, and known
        steps.found(rules.tail_is_measured(fit, config.check))

    recovered = _recovered(read, registered, body, config, progress)
    progress(0.55, "computing the dose")
    engine = build(config.dose.engine, config.dose.options)
    emitting = stated(nuclide, config.dose.progeny)
    with steps.step("dose", engine=engine.identity, seed=config.dose.seed, **config.dose.options) as step:
        dose = engine.dose(fit.tia, body, emitting, seed=config.dose.seed)
        step.outputs({"dose": dose.gy, "sigma": dose.sigma_gy})
        organs = organ_doses(dose, body.density, regions, fit, config.results)
        step.measured({"emissions": {"nuclide": emitting.name, "source": emitting.source}})
        if recovered is not None:
            corrected = engine.dose(recovered.fit.tia, body, emitting, seed=config.dose.seed)
            step.outputs({"recovered-dose": corrected.gy})
            from_map = organ_doses(corrected, body.density, regions, recovered.fit, config.results)
            found = {r.region: r for r in recovered.regions}
            organs = with_recovery(
                organs, from_map, recovered.fit, regions, body.density, found, emitting.energy
            )
        if dose.alpha_gy is not None:
            step.outputs({"alpha": dose.alpha_gy})
            step.measured(alpha_record(organs, config.results))
    if engine.identity.name in SAMPLED:
        steps.found(rules.noise_is_small(hot_voxel_noise(dose, regions), config.check))
    steps.found(rules.organ_doses_are_plausible(organs, administration, nuclide))
    ct = next(p.ct for p in cycle.time_points if p.label == registered.reference)
    return Answer(
        registered, body, regions, fit, dose, organs, engine.identity, steps.verdict(), nuclide, read.made,
        ct, steps.done,
    )  # fmt: skip


def _check_time_points(read: ReadCycle, config: Config) -> None:
    """What contradicts itself before any image is moved."""
    cycle, nuclide, steps = read.cycle, read.nuclide, read.steps
    steps.found(rules.reconstructions_agree({m.label: m.image.method for m in read.made}))
    steps.found(rules.administered_activity_is_plausible(cycle.administration, config.check))
    steps.found(rules.times_are_plausible(cycle, config.check, read.read_at))
    steps.found(rules.image_total_below_administered(cycle, nuclide, config.check))
    steps.found(rules.activity_falls_as_physics_demands(cycle, nuclide, config.check))
    steps.stop_if_held()


def _recovered(
    read: ReadCycle, registered: RegisteredCycle, body: Anatomy, config: Config, progress: Progress
) -> RecoveredCycle | None:
    """Regions corrected for partial volume; None where nothing is contoured or nobody asks."""
    regions = registered.regions
    if not read.recovery or regions is None or config.recovery.use == "off":
        return None
    progress(0.5, "correcting for partial volume")
    with read.steps.step("recovery", **config.recovery.model_dump(mode="json")) as step:
        recovered = recover_cycle(
            read.cycle, registered, regions, body.body, read.nuclide, config.tia, config.recovery
        )
        step.outputs({p.label: p.activity.bq_per_ml for p in recovered.points})
        step.measured(recovered.record())
    read.steps.found(recovered.findings)
    return recovered


def _registered(read: ReadCycle, config: Config, progress: Progress) -> RegisteredCycle:
    from dicomnode.registration import register

    progress(0.15, "registering time points")
    with read.steps.step("registration", **config.registration.model_dump()) as step:
        registered = register(read.cycle, config.registration)
        step.outputs({p.label: p.activity.bq_per_ml for p in registered.points})
        step.measured({p.label: asdict(p.quality) for p in registered.points})
    read.steps.found(registered.findings)
    read.steps.stop_if_held()
    return registered


def _reference_activity(registered: RegisteredCycle) -> ActivityMap:
    return next(p.activity for p in registered.points if p.label == registered.reference)


def _anatomy(registered: RegisteredCycle, config: Config) -> Anatomy:
    """Density and tissues from the reference's CT; water where there is none."""
    from dicomnode.physics.anatomy import anatomy_from_ct, anatomy_without_ct

    if registered.ct is not None:
        return anatomy_from_ct(registered.ct, config.tissue)
    return anatomy_without_ct(_reference_activity(registered).grid)
