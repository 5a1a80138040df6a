"""One cycle computed: its files in; findings, doses and the objects to send out. No SQL, no processes.

``job`` says what is computed, ``planning`` makes it of a plan, ``folder`` of files in folders; ``files``
finds them by digest. ``time_points`` reads them (``reconstruction``, ``spect`` where projections have to be
reconstructed first); ``cycle_dose`` is the page that calls the rooms in order; ``products`` writes what
leaves, ``shown`` what is looked at; ``record`` keeps the digest of every step.
"""
