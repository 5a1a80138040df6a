"""dicomnode: SPECT/CT series in, absorbed dose (RTDOSE) back in the PACS, every step on record.

The journey of a cycle, and the functions it meets (docs/journey.md tells it at length):

1. ``receive.scp.Receiver`` takes an instance; ``archive.store.Store.adopt`` makes its file safe;
   ``node.ledger.ReceiptLedger.record`` commits receipt and audit event; only then Success is answered.
2. ``node.rounds.Rounds.once`` sees it; ``node.intake.parse`` reads its header in a worker process;
   ``node.intake.record`` indexes it.
3. ``node.cycles.review`` regroups the patient: ``cycle.gather.gather`` makes time points and cycles,
   ``cycle.administration.reconcile`` settles the administration, ``cycle.readiness.readiness`` says whether
   the cycle is complete, ``node.lifecycle.advance`` what follows.
4. ``node.revisions.start`` makes a revision and its job; ``node.pipeline.compute`` computes it in a worker:
   ``node.reading.read_time_points`` (``dicom.decode.read_emission``, ``dicom.decode.read_ct``,
   ``dicom.structures.read_structures``, ``cycle.calibration.calibrate``), ``check.rules``,
   ``registration.register``, ``tia.integrate``, a ``dose.engine.DoseEngine``,
   ``results.organs.organ_doses``, ``node.objects.write_objects``.
5. ``node.revisions.finish`` writes steps, findings, doses and objects; a rule that holds, holds; else
   ``node.revisions.release`` fills the outbox.
6. ``delivery.dispatcher.serve`` sends through ``delivery.scu.send``; ``node.dispatch.Outbox`` records what
   each peer answered; ``node.revisions.settle_deliveries`` closes the cycle.

Layers, top to bottom (an import-linter contract keeps them): cli, node, config, the doors (receive, archive,
delivery, audit), the rooms (cycle, registration, tia, dose, check, results), the workshop (simulation,
montecarlo, compare), dicom and physics, model, errors.
"""

__version__ = "0.1.0"
