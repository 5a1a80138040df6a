"""One item of the work apart from all others: its fault is its own.

This is one of three places that catch whatever is raised (``node.workers`` and ``delivery.dispatcher`` are
the others): an odd object that defeats our code must not stop the work for every patient. Nothing is
hidden: the caller quarantines the object or holds the cycle, and says why.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from dicomnode.database.database import is_outage
from dicomnode.errors import ItemFault

log = logging.getLogger(__name__)
LONGEST_WHY = 300


@contextmanager
def one_item() -> Iterator[None]:
    """What is done about one item. Raises ItemFault for whatever goes wrong within.

    An outage of database or disk passes as it is: it is no item's fault, and the whole is tried again.
    """
    try:
        yield
    except Exception as fault:  # see above
        if is_outage(fault) or isinstance(fault, ItemFault) or _is_of_the_disk(fault):
            raise
        where = traceback.extract_tb(fault.__traceback__)[-1]
        # Not its message: it may quote the object, and so the patient.
        log.error("%s at %s:%s; the item is set aside", type(fault).__name__, where.name, where.lineno)
        why = str(getattr(fault, "orig", None) or fault).partition("\n")[0]
        raise ItemFault(f"{type(fault).__name__}: {ascii(why)[1:-1][:LONGEST_WHY]}") from fault


@contextmanager
def apart(session: Session) -> Iterator[None]:
    """One item's part of a transaction, at a savepoint: undone where ItemFault is raised; the rest stands."""
    with one_item(), session.begin_nested():
        yield


def _is_of_the_disk(fault: Exception) -> bool:
    return isinstance(fault, OSError) and fault.errno is not None
