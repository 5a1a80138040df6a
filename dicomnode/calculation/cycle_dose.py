"""The way of a cycle from stored objects to objects for the PACS, on one page.

Runs in a worker process. Reads the store, writes the store, touches nothing else. Every step is a call
into one room; what a step decides comes back as findings. Same job, configuration and software: same
bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

from dicomnode.archive.store import Store
from dicomnode.calculation.job import Job, Outcome
from dicomnode.calculation.products import Answer, write_objects
from dicomnode.calculation.record import Steps
from dicomnode.calculation.time_points import read_time_points
from dicomnode.check import rules
from dicomnode.config import Config
from dicomnode.cycle.regions import with_default_regions
from dicomnode.errors import DicomnodeError, NotReady
from dicomnode.model import Administration, Cycle, Finding, Severity, Verdict

Progress = Callable[[float, str], None]


def compute(job: Job, config: Config, store: Store, progress: Progress = lambda _f, _w: None) -> Outcome:
    """Compute one revision. Never raises for bad data: what cannot be used becomes a finding that holds."""
    steps = Steps(store)
    steps.found(job.doubts)
    try:
        return _compute(job, config, store, steps, progress)
    except NotReady:  # what holds is among the findings
        return Outcome(steps.verdict(job.accepted), steps.done)
    except DicomnodeError as error:
        refusal = Finding(f"refused-{type(error).__name__}", Severity.HOLD, str(error))
        return Outcome(Verdict.of([*steps.verdict(job.accepted).findings, refusal]), steps.done)


def _compute(job: Job, config: Config, store: Store, steps: Steps, progress: Progress) -> Outcome:
    from dicomnode.dose.registry import build
    from dicomnode.physics.anatomy import anatomy_from_ct, anatomy_without_ct
    from dicomnode.physics.chains import stated
    from dicomnode.physics.nuclides import nuclide as known_nuclide
    from dicomnode.registration import register
    from dicomnode.results.organs import alpha_record, organ_doses
    from dicomnode.tia import integrate

    administration: Administration = job.administration.noun()
    nuclide = known_nuclide(administration.nuclide)

    progress(0.02, "reading images")
    with steps.step("read", zone=config.node.zone) as step:
        points, made = read_time_points(job, config, store, nuclide, steps)
        step.outputs({p.label: p.activity.bq_per_ml for p in points})
        step.measured({p.label: {"total_mbq": p.activity.total_mbq, **p.origin} for p in points})
    cycle = Cycle(administration, points)
    steps.found(rules.reconstructions_agree({m.label: m.image.method for m in made}))
    steps.found(rules.administered_activity_is_plausible(administration, config.check))
    steps.found(rules.times_are_plausible(cycle, config.check, job.created_at))
    steps.found(rules.image_total_below_administered(cycle, nuclide, config.check))
    steps.found(rules.activity_falls_as_physics_demands(cycle, nuclide, config.check))
    if steps.held(job.accepted):
        return Outcome(steps.verdict(job.accepted), steps.done)

    progress(0.15, "registering time points")
    with steps.step("registration", **config.registration.model_dump()) as step:
        registered = register(cycle, config.registration)
        step.outputs({p.label: p.activity.bq_per_ml for p in registered.points})
        step.measured({p.label: asdict(p.quality) for p in registered.points})
    steps.found(registered.findings)
    if steps.held(job.accepted):
        return Outcome(steps.verdict(job.accepted), steps.done)

    reference = next(p for p in registered.points if p.label == registered.reference)
    if registered.ct is not None:
        body = anatomy_from_ct(registered.ct, config.tissue)
    else:
        body = anatomy_without_ct(reference.activity.grid)
    regions = with_default_regions(registered.regions, body.body, reference.activity)

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

    progress(0.55, "computing the dose")
    engine = build(config.dose.engine, config.dose.options)
    emitting = stated(nuclide, config.dose.progeny)
    with steps.step("dose", engine=engine.identity, seed=config.dose.seed, **config.dose.options) as step:
        dose = engine.dose(fit.tia, body, emitting, seed=config.dose.seed)
        step.outputs({"dose": dose.gy, "sigma": dose.sigma_gy})
        organs = organ_doses(dose, body.density, regions, fit, config.results)
        step.measured({"emissions": {"nuclide": emitting.name, "source": emitting.source}})
        if dose.alpha_gy is not None:
            step.outputs({"alpha": dose.alpha_gy})
            step.measured(alpha_record(organs, config.results))
    steps.found(rules.organ_doses_are_plausible(organs, administration, nuclide))

    progress(0.85, "writing objects")
    verdict = steps.verdict(job.accepted)
    with steps.step("objects") as step:
        ct = next(p.ct for p in points if p.label == registered.reference)
        answer = Answer(
            registered, body, regions, fit, dose, organs, engine.identity, verdict, nuclide, made, ct
        )
        products = write_objects(job, config, store, answer)
        step.digests({p.role: p.file_sha256 for p in products})
    progress(1.0, f"done at {datetime.now(UTC):%H:%M:%S}")
    return Outcome(verdict, steps.done, products, organs, fit.regions)
