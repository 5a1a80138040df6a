"""dicomnode: SPECT/CT series in, absorbed dose (RTDOSE) back in the PACS, every step on record.

The journey of a cycle, and the functions it meets (docs/journey.md tells it at length):

1. ``receive.scp.Receiver`` takes an instance; ``archive.store.Store.adopt`` makes its file safe;
   ``node.receipts.ReceiptLedger.record`` commits receipt and audit event; only then Success is answered.
2. ``node.work.Rounds.once`` sees it; ``casebook.intake.parse`` reads its header in a worker process;
   ``casebook.intake.record`` indexes it.
3. ``casebook.review.review`` regroups the patient: ``cycle.gather.gather`` makes time points and cycles,
   ``cycle.administration.reconcile`` settles the administration, ``cycle.readiness.readiness`` says whether
   the cycle is complete, ``casebook.lifecycle.advance`` what follows.
4. ``casebook.revisions.start`` makes a revision and its job; ``calculation.cycle_dose.compute`` computes it
   in a worker: ``calculation.time_points.read_cycle`` (``dicom.volumes.read_emission``,
   ``dicom.volumes.read_ct``, ``dicom.regions.structures.read_structures``, ``cycle.calibration.calibrate``),
   ``check.rules``, ``registration.register``, ``tia.integrate``, ``calculation.recovery.recover_cycle``, a
   ``dose.engine.DoseEngine``, ``results.organs.organ_doses``, ``results.recovered.with_recovery``,
   ``calculation.products.write_objects``.
5. ``casebook.revisions.finish`` writes steps, findings, doses and objects; a rule that holds, holds; else
   ``casebook.revisions.release`` fills the outbox.
6. ``delivery.dispatcher.serve`` sends through ``delivery.scu.send``; ``node.deliver.Outbox`` records what
   each peer answered; ``casebook.revisions.settle_deliveries`` closes the cycle.

Rooms, top to bottom (an import-linter contract keeps the order; each room's ``__init__`` says what is in it):
cli, demo, ``node`` (processes), ``web`` and ``review`` (what people are shown), ``casebook`` (what is on
record of a cycle), ``calculation`` (the files of a cycle in, doses and products out; ``api`` gives it to a
notebook and to ``dicomnode run``), config, the doors (receive, archive, delivery, audit), the science
(cycle, registration, recovery, tia, dose, check, results, simulation), the workshop (montecarlo, compare,
recon), files, dicom and physics, model and database, errors.
"""

__version__ = "0.2.0"
