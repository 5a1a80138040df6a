"""What is on record of a cycle: its state, revisions, findings and decisions. SQL, no processes.

``intake`` and ``administrations`` take facts in; ``review`` regroups a patient; ``lifecycle`` is the table of
states and ``state`` takes its steps; ``plans`` and ``course`` prepare a calculation,
``revisions`` records it; ``contradictions`` and ``quarantine`` keep what does not fit; ``decisions`` is what
people do; ``views`` and ``status`` are read.
"""
