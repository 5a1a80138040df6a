"""One entry of a list in the configuration, where several may fit: the order in the file decides nothing.

Of the entries that fit, the latest that began to apply on or before the day counts. Entries of one day that
would do different things are refused; where that can be seen in the file alone, it is a fault of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from typing import Generic, TypeVar

from dicomnode.errors import Inconsistent

T = TypeVar("T")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """How one list is chosen from.

    Attributes
    ----------
    table : the list as config.toml writes it
    name : how a sentence names an entry
    effect : all that an entry changes; entries of one effect are one
    reach : all by which an entry is found to fit
    since : first day on which an entry applies
    """

    table: str
    name: Callable[[T], str]
    effect: Callable[[T], Hashable]
    reach: Callable[[T], Hashable]
    since: Callable[[T], date] = lambda _entry: date.min

    def among(self, fitting: Sequence[T], on: date, uid: str) -> T:
        """The entry that counts ``on`` a day; where all began later, the first of them.

        Raises
        ------
        Inconsistent : entries of one day fit and differ
        """
        begun = [self.since(entry) for entry in fitting if self.since(entry) <= on]
        day = max(begun) if begun else min(self.since(entry) for entry in fitting)
        of_day = [entry for entry in fitting if self.since(entry) == day]
        if len({self.effect(entry) for entry in of_day}) > 1:
            names = " and ".join(repr(self.name(entry)) for entry in of_day)
            when = "" if day == date.min else f", are of {day}"
            raise Inconsistent(
                f"the {self.table} entries {names} all fit{when} and differ",
                attribute=self.table, uid=uid,
                remedy="Leave one of them in the configuration, or say more narrowly what each is for",
            )  # fmt: skip
        return of_day[0]

    def clashes(self, entries: Iterable[T]) -> list[str]:
        """What is wrong with a list whatever comes: two entries for the same, of one day, that differ."""
        return [
            f"{self.name(a)!r} and {self.name(b)!r} of {self.table} are for the same and differ: leave one"
            for a, b in combinations(entries, 2)
            if self.reach(a) == self.reach(b)
            and self.since(a) == self.since(b)
            and self.effect(a) != self.effect(b)
        ]


def refuse_clashes(choice: Choice[T], entries: Sequence[T]) -> Sequence[T]:
    """``entries`` as they are, for a validator of settings. Raises ValueError with every clash."""
    clashes = choice.clashes(entries)
    if clashes:
        raise ValueError("; ".join(clashes))
    return entries
