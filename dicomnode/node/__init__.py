"""The processes of a node: receive, work, deliver, and what keeps them running.

``serve`` supervises; ``receipts`` commits what was received before the sender is answered; ``work`` is the
loop of the work role and ``workers`` its processes; ``deliver`` joins the outbox with the peers; ``health``,
``housekeeping`` and ``logs`` serve whoever runs it; ``replay`` repeats a revision.
"""
