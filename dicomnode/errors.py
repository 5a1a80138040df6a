"""What can go wrong, as a tree.

DicomnodeError
|- ConfigError          file:line, key, what was expected, what was found
|- Refused              an input we will not use: which object, which attribute, why, what to do
|  |- MissingAttribute    the attribute is absent or empty
|  |- Inconsistent        two statements of the same object (or series) contradict each other
|  |- Unsupported         understood, but this node does not handle it
|- NotReady             the cycle cannot be computed yet; not a failure
|- NotConverged         a fit or a registration did not reach its goal
|- OutOfDomain          a quantity lies outside the range for which an engine or a table is valid
|- EngineUnavailable    an engine, or data it needs, is not installed
|- ItemFault            one object, patient or cycle defeats our code or the database; it alone is set aside
|- DeliveryFailed       a peer did not take an object
|- AuditBroken          the audit trail does not verify; names the first broken row

Every message says what, where, how much, and what a person should do. Messages never contain
patient names or numbers; objects are named by their UIDs.
"""

from __future__ import annotations


class DicomnodeError(Exception):
    """Root of everything this package raises on purpose."""


class ConfigError(DicomnodeError):
    """The configuration cannot be used. ``faults`` lists every fault, one sentence each."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class Refused(DicomnodeError):
    """An input that will not be used.

    Parameters
    ----------
    reason
        One sentence: what is wrong.
    attribute
        DICOM keyword (or file field) at fault, empty if none in particular.
    value
        The offending value as text; never a patient name or number.
    uid
        SOP Instance UID or Series Instance UID of the object, or a path for plain files.
    remedy
        One sentence: what a person should do.
    """

    def __init__(
        self, reason: str, *, attribute: str = "", value: str = "", uid: str = "", remedy: str = ""
    ) -> None:
        self.reason, self.attribute, self.value = reason, attribute, value
        self.uid, self.remedy = uid, remedy
        where = f" [{attribute}{'=' + value if value else ''}]" if attribute else ""
        which = f" in {uid}" if uid else ""
        super().__init__(f"{reason}{where}{which}{'. ' + remedy if remedy else ''}")

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling between worker processes.
        return _rebuild_refused, (type(self), self.reason, self.attribute, self.value, self.uid, self.remedy)


def _rebuild_refused(
    kind: type[Refused], reason: str, attribute: str, value: str, uid: str, remedy: str
) -> Refused:
    return kind(reason, attribute=attribute, value=value, uid=uid, remedy=remedy)


class MissingAttribute(Refused):
    """A needed attribute is absent or empty."""


class Inconsistent(Refused):
    """Two statements contradict each other."""


class Unsupported(Refused):
    """Understood, but not handled by this node."""


class NotReady(DicomnodeError):
    """The cycle cannot be computed yet. ``reasons`` are sentences."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = list(reasons)
        super().__init__("; ".join(self.reasons))


class NotConverged(DicomnodeError):
    """A fit or a registration did not reach its goal; ``detail`` carries its last state."""

    def __init__(self, message: str, detail: object = None) -> None:
        self.detail = detail
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.detail)


class OutOfDomain(DicomnodeError):
    """``quantity`` has ``value`` ``unit``; ``valid`` states the range that is covered."""

    def __init__(self, quantity: str, value: object, unit: str, valid: str) -> None:
        self.quantity, self.value, self.unit, self.valid = quantity, value, unit, valid
        super().__init__(f"{quantity} is {value} {unit}".rstrip() + f"; valid: {valid}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.quantity, self.value, self.unit, self.valid)


class EngineUnavailable(DicomnodeError):
    """An engine, or the data or package it needs, is absent; the message says what to install."""


class ItemFault(DicomnodeError):
    """What was done about one item (an object, a patient, a cycle) failed and was undone. The database is
    well, and so is everything else."""


class DeliveryFailed(DicomnodeError):
    """A peer did not take an object."""

    def __init__(self, peer: str, status: str, next_try: str) -> None:
        self.peer, self.status, self.next_try = peer, status, next_try
        super().__init__(f"{peer}: {status}; next try {next_try}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.peer, self.status, self.next_try)


class AuditBroken(DicomnodeError):
    """The audit trail does not verify from row ``seq`` on."""

    def __init__(self, seq: int, why: str) -> None:
        self.seq, self.why = seq, why
        super().__init__(
            f"audit row {seq} does not verify: {why}. Keep the database as it is, restore the last "
            f"backup beside it and compare both with the checkpoints kept outside"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.seq, self.why)
