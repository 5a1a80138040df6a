"""One cycle computed: its files in; findings, doses and the objects to send out. No SQL, no processes.

``job`` says what is computed; ``time_points`` reads it (``spect`` where projections have to be reconstructed
first); ``cycle_dose`` is the page that calls the rooms in order; ``products`` writes what leaves; ``record``
keeps the digest of every step.
"""
