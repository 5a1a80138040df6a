"""Whether the series under one Patient ID are of one person, and lie as their CT says."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from dicomnode.model import Finding
from dicomnode.model.series import InstanceHeader, SeriesSummary
from dicomnode.model.statements import Fact, Statement, at_time_point, once

_REMEDY = (
    "hold the cycle with `dicomnode hold` where the scans are of two people; release it only after comparing "
    "them, else correct the patient in the PACS and send the series again"
)


def same_name(one: str, other: str) -> bool:
    """True for one person's name in two spellings: case, accents, blanks, and parts that one leaves out.

    PS3.5 6.2.1.2: family, given, middle, prefix, suffix; the alphabetic group counts.
    """
    pairs = list(zip_longest(_parts(one)[:3], _parts(other)[:3], fillvalue=""))
    return all(a == b for a, b in pairs[:2]) and all(not a or not b or a == b for a, b in pairs[2:])


def _parts(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", name.partition("=")[0]).casefold()
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    return [" ".join(part.split()) for part in letters.split("^")]


def _fact(name: str, keyword: str, tag: str) -> Fact[str]:
    return Fact(
        name=f"the patient's {name}",
        differ="differs between scans under one Patient ID",
        rule=f"patient-{name.replace(' ', '-')}-differs",
        places=tuple(f"{keyword} {tag} of {which}" for which in ("one series", "another series")),
        agree=same_name if keyword == "PatientName" else str.__eq__,
        tolerance="case, accents, blanks and a middle name" if keyword == "PatientName" else "none",
        absent="not compared",
        remedy=_REMEDY,
        show=None,
        standard="PS3.3 C.7.1.1",
    )


PATIENT = {
    "PatientName": _fact("name", "PatientName", "(0010,0010)"),
    "PatientBirthDate": _fact("birth date", "PatientBirthDate", "(0010,0030)"),
    "PatientSex": _fact("sex", "PatientSex", "(0010,0040)"),
    "IssuerOfPatientID": _fact("issuer", "IssuerOfPatientID", "(0010,0021)"),
}

ORIENTATION = Fact(
    name="the patient's orientation on the table",
    rule="patient-orientation-differs",
    places=(
        "PatientOrientationCodeSequence and PatientGantryRelationshipCodeSequence of the emission",
        "PatientPosition (0018,5100) of its CT",
    ),
    agree=str.__eq__,
    tolerance="none",
    absent="not compared",
    remedy="one of them may be turned over or upside down; compare the two in the pictures, and release the "
    "cycle only where they fit",
    standard="PS3.3 C.8.4.6 and C.7.3.1.1.2",
)


def one_person(labelled: Sequence[tuple[str, SeriesSummary]]) -> tuple[Finding, ...]:
    """Findings on series of one cycle whose patient is not one person.

    ``labelled``: time point and series. The sentence names attribute and time points, never the values: they
    are the patient's identity, and findings leave the node.
    """
    found: list[Finding] = []
    for keyword, fact in PATIENT.items():
        first_of_value: dict[str, tuple[str, SeriesSummary]] = {}
        for label, series in labelled:
            if series.facts.get(keyword):
                first_of_value.setdefault(series.facts[keyword], (label, series))
        found += _about_values(keyword, fact, list(first_of_value.items()))
    return tuple(found)


def _about_values(
    keyword: str, fact: Fact[str], seen: Sequence[tuple[str, tuple[str, SeriesSummary]]]
) -> Iterable[Finding]:
    for value, (label, series) in seen[1:]:
        first_value, (first_label, first) = seen[0]
        two = [Statement(p, v) for p, v in zip(fact.places, (first_value, value), strict=True)]
        where = f"{first_label} ({_what(first)}) and {label} ({_what(series)})"
        yield from at_time_point(fact.settle(two, series.series_uid).findings, where)


def _what(series: SeriesSummary) -> str:
    return series.description or series.modality


def one_person_in(headers: Sequence[InstanceHeader]) -> tuple[Finding, ...]:
    """Findings on one series whose objects are not of one person."""
    found: list[Finding] = []
    for keyword, fact in PATIENT.items():
        values = list(dict.fromkeys(h.facts[keyword] for h in headers if h.facts.get(keyword)))
        for other in values[1:]:
            two = [Statement(p, v) for p, v in zip(fact.places, (values[0], other), strict=True)]
            found += fact.settle(two, headers[0].series_instance_uid).findings
    return once(found)


def lies_as_its_ct(label: str, emission: SeriesSummary, ct: SeriesSummary | None) -> Iterable[Finding]:
    """Whether an emission series and its CT state one orientation of the patient."""
    if ct is None:
        return ()
    texts = (emission.facts.get("PatientPosition"), ct.facts.get("PatientPosition"))
    two = [Statement(place, text or None) for place, text in zip(ORIENTATION.places, texts, strict=True)]
    return at_time_point(ORIENTATION.settle(two, emission.series_uid).findings, label)
