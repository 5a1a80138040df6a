"""SPECT reconstruction: from raw projections to calibrated activity. Usable alone, without the node.

``reconstruct.reconstruct`` is the way through: ``scan`` joins projections, CT and ``protocol``; the wings are
``camera`` (the system model), ``algorithms`` (OSEM, MAP), ``learned`` (networks and their acceptance),
``calibration`` (the record of one camera) and ``examination`` (whether a scan can be used at all).
``selection`` chooses camera and record, ``recovery`` measures spheres, ``calibrate`` makes a record.
"""
