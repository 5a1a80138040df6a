"""Text from outside, as people and databases get it.

Every text of an object passes here when it is read (``dicom.header.dataset``) and every text that is
printed passes here once more (terminal, PDF, SR, CSV, logs, audit trail): a name must not make a row of
its own, turn the line around or reach a terminal as a command.
"""

from __future__ import annotations

import unicodedata

LONGEST_TEXT = 1024
"""Characters of one text that are kept; no attribute that is used here may have more (PS3.5 6.2, ST)."""

_JOINERS = "\u200c\u200d"
"""Within words of Persian and of scripts of India these are letters' forms, not tricks."""
_FORMULA = ("=", "+", "-", "@")


def printable(text: str) -> str:
    """``text`` with everything that is no visible character or space as its code point, ``<U+202E>``:
    control and bidirectional characters, line separators, lone surrogates, what is not assigned.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def shortened(text: str, most: int = LONGEST_TEXT) -> str:
    """At most ``most`` characters of ``text``; an ellipsis says that there were more."""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def spreadsheet_cell(text: str) -> str:
    """``text`` for a CSV file: a spreadsheet shows it and runs nothing (CWE-1236). Numbers stay numbers."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) and not _is_number(shown) else shown


def _shown(character: str) -> str:
    space = unicodedata.category(character) == "Zs"
    if character.isprintable() or space or character in _JOINERS:
        return character
    return f"<U+{ord(character):04X}>"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
