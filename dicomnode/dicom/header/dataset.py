"""Opening an untrusted object and taking values from it without being hurt by them.

pydicom decodes an element when it is touched, and an odd element may then raise nearly anything. So
every element is touched here, through :class:`Attributes`: what cannot be read counts as absent and is
remembered in ``faults``.
"""

from __future__ import annotations

import codecs
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite, nan
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.charset import convert_encodings, default_encoding, python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.values import convert_value

from dicomnode.errors import Inconsistent, MissingAttribute, Refused, Unsupported
from dicomnode.model.text import printable, shortened

DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT_LE, EXPLICIT_LE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
NATIVE = frozenset({IMPLICIT_LE, EXPLICIT_LE})
MAX_ITEMS = 100_000
"""Longest sequence that is walked; a whole-body enhanced object has a few thousand frames."""
LONGEST_IDENTITY = 64
"""PS3.5 6.2: most characters of LO and of UI."""
_CODECS = frozenset(codecs.lookup(name).name for name in python_encoding.values())
"""Of the character sets that DICOM defines (PS3.3 C.12.1.1.2); Python has others, that run escapes."""

# What pydicom 3 raises on odd content, as met with malformed files. OSError among them, without an errno,
# for a truncated sequence.
PARSE_FAULTS = (
    InvalidDicomError,
    BytesLengthException,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    AssertionError,
    EOFError,
    OSError,
    RecursionError,
    struct.error,
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's remarks on odd values to itself: they may quote a patient's identity, and every
    value that matters is judged here by rules of our own."""
    logger = logging.getLogger("pydicom")
    disabled = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = disabled


class Attributes:
    """A data set (or an item of a sequence) whose elements are read without raising.

    ``faults`` lists keywords whose value was there but unreadable; items share their parent's list.
    """

    def __init__(self, dataset: Any, faults: list[str] | None = None) -> None:
        self.dataset = dataset
        self.faults = faults if faults is not None else []
        _only_defined_characters(dataset)

    def value(self, tag: str | tuple[int, int]) -> Any:
        """Decoded value by keyword or (group, element); None where absent, empty or unreadable."""
        try:
            if tag not in self.dataset:
                return None
            element = self.dataset[tag]
            value = _by_dictionary(element, self.dataset) if element.VR == "UN" else element.value
            return None if value is None or value == "" else value
        except PARSE_FAULTS:
            self.faults.append(_name(tag))
            return None

    def holds(self, tag: str | tuple[int, int]) -> bool:
        """Whether the element is there with a value, be it readable or not."""
        try:
            raw = self.dataset.get_item(tag).value if tag in self.dataset else None
            return raw is not None and (not hasattr(raw, "__len__") or len(raw) > 0)
        except PARSE_FAULTS:
            return True

    def text(self, tag: str | tuple[int, int]) -> str:
        """Value as text, several values joined by a backslash; empty where there is none.

        The gate for text from outside: what is not printable becomes its code point, what is longer than
        any real text is cut and remembered in ``faults``. The file in the store keeps what came.
        """
        whole = self._text(tag)
        text = shortened(whole)
        if text is not whole:
            self.faults.append(_name(tag))
        return printable(text)

    def _text(self, tag: str | tuple[int, int]) -> str:
        value = self.value(tag)
        if value is None:
            return ""
        try:
            parts = [str(v) for v in value] if _many(value) else [str(value)]
        except PARSE_FAULTS:
            return ""
        return "\\".join(part.strip(" \0") for part in parts)

    def texts(self, tag: str | tuple[int, int]) -> tuple[str, ...]:
        """Values as texts."""
        joined = self.text(tag)
        return tuple(joined.split("\\")) if joined else ()

    def numbers(self, tag: str | tuple[int, int]) -> tuple[float, ...]:
        """Finite numbers; empty where absent or where one of them is no number."""
        value = self.value(tag)
        if value is None:
            return ()
        try:
            numbers = tuple(float(v) for v in (value if _many(value) else (value,)))
        except PARSE_FAULTS:
            numbers = (nan,)
        if all(isfinite(n) for n in numbers):
            return numbers
        self.faults.append(_name(tag))
        return ()

    def number(self, tag: str | tuple[int, int]) -> float | None:
        """The first number, or None."""
        numbers = self.numbers(tag)
        return numbers[0] if numbers else None

    def integer(self, tag: str | tuple[int, int]) -> int | None:
        """The first number as an integer, or None."""
        number = self.number(tag)
        return None if number is None else int(number)

    def items(self, tag: str | tuple[int, int]) -> tuple[Attributes, ...]:
        """Items of a sequence; empty where absent, unreadable or no sequence.

        Raises Refused where there are more than ``MAX_ITEMS``.
        """
        value = self.value(tag)
        try:
            sequence = list(value) if value is not None else []
        except PARSE_FAULTS:
            return ()
        if len(sequence) > MAX_ITEMS:
            raise Refused("a sequence is longer than any real object needs", attribute=str(tag), uid=self.uid)
        return tuple(Attributes(item, self.faults) for item in sequence if hasattr(item, "elements"))

    def first(self, tag: str | tuple[int, int]) -> Attributes:
        """The first item of a sequence, or an empty one."""
        items = self.items(tag)
        return items[0] if items else Attributes({}, self.faults)

    def identity(self, tag: str) -> str:
        """Text that tells patients apart. Call it before anything else touches the element.

        Raises Refused, with the bytes, where the declared character set cannot decode them, where they hold
        control characters, or where there are more than ``LONGEST_IDENTITY`` characters: two patients must
        not become one because of what was replaced or cut.
        """
        raw = self._bytes(tag)
        text = self._text(tag)
        undeclared = not raw.isascii() and self.dataset.original_character_set in (
            default_encoding,
            [default_encoding],
        )
        if undeclared or "\N{REPLACEMENT CHARACTER}" in text:
            why = "its bytes cannot be decoded with the character set that the object declares"
        elif printable(text) != text:
            why = "it holds characters that cannot be printed"
        elif len(text) > LONGEST_IDENTITY:
            why = f"it has {len(text)} characters, and DICOM allows {LONGEST_IDENTITY}"
        else:
            return text
        raise Refused(
            f"{tag} is no identity: {why}", uid=self.uid,
            attribute=tag, value=raw[:LONGEST_IDENTITY].hex(" "),
            remedy="Correct it (or SpecificCharacterSet) at the sender and send the object again",
        )  # fmt: skip

    def _bytes(self, tag: str) -> bytes:
        """Bytes of a text as they came; empty where absent or decoded before."""
        if tag not in self.dataset:
            return b""
        element = self.dataset.get_item(tag)
        return element.value or b"" if isinstance(element, RawDataElement) else b""

    def require(self, tag: str, remedy: str = "") -> str:
        """Text of an attribute that must be there. Raises MissingAttribute."""
        text = self.text(tag)
        if not text:
            raise MissingAttribute(
                "a needed attribute is absent or empty", attribute=tag, uid=self.uid, remedy=remedy
            )
        return text

    @property
    def uid(self) -> str:
        """SOP Instance UID, for messages."""
        return self.text("SOPInstanceUID")

    @property
    def transfer_syntax(self) -> str:
        """Transfer Syntax UID of the file."""
        return Attributes(getattr(self.dataset, "file_meta", {})).text("TransferSyntaxUID")


def _only_defined_characters(dataset: Any) -> None:
    """pydicom takes every codec of Python for a character set, ``unicode_escape`` among them: what DICOM
    does not define is read as ASCII."""
    used = getattr(dataset, "original_character_set", ())
    names = [used] if isinstance(used, str) else used
    if any(name and codecs.lookup(name).name not in _CODECS for name in names):
        dataset.set_original_encoding(*dataset.original_encoding, ["ascii"])


def _by_dictionary(element: Any, dataset: Any) -> Any:
    """The value of an element that came as UN, by the VR of the data dictionary.

    A value of more than 64 KB whose VR has a length of 16 bits is written as UN in explicit VR, implicit VR
    little endian within (PS3.5 6.2.2, note 2, and CP-1066); pydicom leaves those as bytes.
    """
    if not isinstance(element.value, bytes) or not dictionary_has_tag(element.tag):
        return element.value
    vr = dictionary_VR(element.tag)
    if " or " in vr or vr == "UN":
        return element.value
    raw = RawDataElement(element.tag, vr, len(element.value), element.value, 0, True, True)
    return convert_value(vr, raw, convert_encodings(dataset.original_character_set))


def _name(tag: str | tuple[int, int]) -> str:
    return tag if isinstance(tag, str) else f"({tag[0]:04x},{tag[1]:04x})"


def _many(value: Any) -> bool:
    return (
        hasattr(value, "__iter__")
        and not isinstance(value, (str, bytes))
        and not hasattr(value, "components")
    )


def open_object(path: Path, *, pixels: bool) -> Attributes:
    """Parse one file.

    Raises OSError where the file cannot be read, Refused for what is no DICOM file or cannot be parsed,
    Unsupported for the deflated transfer syntax, which is not even unpacked: 600 KB of it may become 600 MB.
    """
    name = path.name
    try:
        with quiet():
            meta = read_file_meta_info(path)
            if str(meta.get("TransferSyntaxUID", "")) == DEFLATED:
                raise Unsupported(
                    "the object is deflated", attribute="TransferSyntaxUID", value=DEFLATED, uid=name,
                    remedy="Send it as explicit or implicit VR little endian",
                )  # fmt: skip
            return Attributes(dcmread(path, stop_before_pixels=not pixels))
    except RecursionError:
        raise Refused("sequences are nested too deeply to be parsed", uid=name) from None
    except PARSE_FAULTS as fault:
        if isinstance(fault, OSError) and fault.errno is not None:
            raise  # the disk, not the file
        raise Refused(
            f"it cannot be parsed as DICOM ({type(fault).__name__})", uid=name,
            remedy="Send it again; if it fails again, have the sender check how it is written",
        ) from None  # fmt: skip


def one_value(objects: list[Attributes], keyword: str) -> str:
    """The value that all objects share, as text. Raises Inconsistent where they differ."""
    values = {o.text(keyword) for o in objects}
    if len(values) > 1:
        raise Inconsistent(
            f"the objects of one series state {len(values)} different values of {keyword}",
            attribute=keyword, uid=objects[0].text("SeriesInstanceUID"),
            remedy="Send the series again, whole; different reconstructions must be different series",
        )  # fmt: skip
    return values.pop()
