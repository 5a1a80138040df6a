"""One object must never stop the work: whatever was acknowledged ends INDEXED or QUARANTINED, on both
databases, and the rounds go on."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dsutils import split_dataset
from sqlalchemy import select

from dicomnode.archive.store import Store
from dicomnode.audit import trail
from dicomnode.casebook import intake, quarantine, review
from dicomnode.casebook.house import House
from dicomnode.casebook.status import status
from dicomnode.config import Config, load
from dicomnode.database.database import Database
from dicomnode.database.tables import Instance, Series
from dicomnode.node.receipts import ReceiptLedger
from dicomnode.node.work import Rounds
from dicomnode.node.workers import Ended, Workers
from dicomnode.receive.arrivals import Arrival
from tests.faults.odd_bytes import CT, data_set, part10

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class ParsingHere(Workers):
    """Parses in this process, at once: what a worker process does, without the process."""

    def __init__(self) -> None:
        self._done: list[Ended] = []

    def submit(self, kind: str, what: Any, limit_s: float, function: Callable[..., Any], *given: Any) -> None:
        try:
            self._done.append(Ended(what, kind, value=function(*given)))
        except Exception as fault:  # as workers._end does
            self._done.append(Ended(what, kind, error=f"{type(fault).__name__}: {fault}", fault=fault))

    def ended(self) -> Iterator[Ended]:
        while self._done:
            yield self._done.pop(0)

    def under_way(self, kind: str) -> list[Any]:
        return []

    def check(self) -> None:
        pass


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    (tmp_path / "config.toml").write_text('[archive]\ndata_folder = "data"\n', encoding="utf-8")
    config: Config = load(tmp_path / "config.toml")
    config.archive.data_folder.mkdir()
    return House(config, database, Store(config.archive.store_folder), b"")


def take(house: House, whole: bytes, uid: str, sop_class: str = CT) -> None:
    """Receive the file of one object, as the receiver does after its last fragment."""
    path = house.store.incoming / "one.part"
    path.write_bytes(whole)
    kept = house.store.adopt(path)
    ReceiptLedger(house).record(
        Arrival(uid, sop_class, "1.2.840.10008.1.2.1", kept, "CT1", "NODE", "127.0.0.1", "", "a", NOW)
    )


def work(house: House, rounds: int = 6) -> None:
    """Rounds of the work role; whatever one raises fails the test."""
    role = Rounds(house, ParsingHere())
    role._resume()
    for _ in range(rounds):
        role.once(datetime.now(UTC))


def verdicts(house: House) -> dict[str, tuple[str, str]]:
    with house.database.read() as session:
        rows = session.execute(select(Instance.sop_instance_uid, Instance.state, Instance.reason))
        return {uid: (state, reason) for uid, state, reason in rows}


LONG = b"1." * 40 + b"1"
POISON: dict[str, tuple[dict[str, bytes], str, str]] = {
    "a lone surrogate by a character set of Python": (
        {"charset": b"unicode_escape", "name": rb"A\ud800B"}, "INDEXED", ""),
    "a NUL inside a name": ({"name": b"A\0B^C"}, "INDEXED", ""),
    "a line feed, an escape and a right-to-left override in a description": (
        {"description": "A\nB\x1b[31m\u202eREVIL".encode()}, "INDEXED", ""),
    "a Modality over 16": ({"modality": b"A" * 40}, "INDEXED", ""),
    "a Series UID over 64": ({"series": LONG}, "QUARANTINED", "SeriesInstanceUID is no UID"),
    "a Study UID over 64": ({"study": LONG}, "QUARANTINED", "StudyInstanceUID is no UID"),
    "a frame of reference that is no UID": ({"frame": b"head first"}, "QUARANTINED", "is no UID"),
    "no Series UID": ({"series": b""}, "QUARANTINED", "SeriesInstanceUID is empty"),
    "a Patient ID of 3000 characters": ({"patient": b"P" * 3000}, "QUARANTINED", "has 3000 characters"),
    "a NUL inside a Patient ID": ({"patient": b"P\0001"}, "QUARANTINED", "printed [PatientID=50 00 31"),
    "a Patient ID that is no UTF-8": ({"patient": b"M\xfcller"}, "QUARANTINED", "=4d fc 6c 6c 65 72]"),
    "a Patient ID beyond ASCII and no character set": (
        {"charset": b"", "patient": b"M\xfcller"}, "QUARANTINED", "cannot be decoded"),
    "a name of 30,000 characters": ({"name": b"N" * 30_000}, "INDEXED", ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", POISON)
def test_an_odd_value_ends_indexed_or_quarantined_with_its_reason(house: House, kind: str) -> None:
    values, state, reason = POISON[kind]
    take(house, part10(data_set("1.2.9.1", **values), "1.2.9.1"), "1.2.9.1")
    take(house, part10(data_set("1.2.9.2", series=b"1.2.7", patient=b"P2"), "1.2.9.2"), "1.2.9.2")
    work(house)
    found = verdicts(house)
    assert found["1.2.9.1"][0] == state, found
    assert reason in found["1.2.9.1"][1]
    assert found["1.2.9.2"] == ("INDEXED", ""), "the object of another patient goes its way"
    assert status(house).waits_for_a_person == (state == "QUARANTINED")
    with house.database.read() as session:
        assert trail.verify(session).whole


def test_what_cannot_be_printed_is_kept_as_its_code_point_and_what_is_too_long_is_cut(house: House) -> None:
    odd = {"description": "LIVER\n\u202eREVIL".encode(), "name": b"A\0B", "modality": b"A" * 40}
    take(house, part10(data_set("1.2.9.1", **odd), "1.2.9.1"), "1.2.9.1")
    work(house)
    with house.database.read() as session:
        (series,) = session.scalars(select(Series)).all()
    assert series.description == "LIVER<U+000A><U+202E>REVIL"
    assert series.patient_name == "A<U+0000>B"
    assert series.modality == "A" * 15 + "…"


def test_an_object_sent_under_a_wrong_class_comes_in_when_it_is_sent_under_its_own(house: House) -> None:
    data, mr = data_set("1.2.9.1"), "1.2.840.10008.5.1.4.1.1.4"
    take(house, part10(data, "1.2.9.1", mr), "1.2.9.1", mr)
    work(house)
    assert "SOPClassUID of the data set differs" in verdicts(house)["1.2.9.1"][1]
    take(house, part10(data, "1.2.9.1"), "1.2.9.1")
    work(house)
    assert verdicts(house) == {"1.2.9.1": ("INDEXED", "")}


def test_an_object_that_only_the_database_refuses_is_quarantined_alone(house: House) -> None:
    """As a gate of ours that is not tight: a header with a NUL, which neither database's text may hold."""
    for n in (1, 2):
        uid = f"1.2.9.{n}"
        take(house, part10(data_set(uid), uid), uid)
    with house.database.read() as session:
        files = [(i, house.store.path(digest)) for i, digest in intake.unparsed(session, 10, [])]
    first, second = intake.parse(files, "UTC")
    assert first.header is not None
    worse = intake.Parsed(first.instance_id, replace(first.header, series_instance_uid="1.\ud800"))
    with house.database.write() as session:
        assert intake.record(session, [worse, second], "NODE", NOW) == {"P1"}
    assert [s for s, _ in verdicts(house).values()] == ["QUARANTINED", "INDEXED"]
    assert "could not be recorded" in quarantine.listed(house)[0].reason


def test_a_patient_whose_review_fails_is_held_and_the_others_are_reviewed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of our own code, as the next odd patient may find one."""

    def gathered(session: Any, patient: str, config: Any) -> Any:
        if patient == "P1":
            raise KeyError("an odd patient")
        return real(session, patient, config)

    real = review.gathered
    monkeypatch.setattr(review, "gathered", gathered)
    take(house, part10(data_set("1.2.9.1"), "1.2.9.1"), "1.2.9.1")
    take(house, part10(data_set("1.2.9.2", series=b"1.2.7", patient=b"P2"), "1.2.9.2"), "1.2.9.2")
    work(house)
    (sentence,) = status(house).troubles
    assert "series 1.2.2 cannot be reviewed: KeyError" in sentence
    assert status(house).waits_for_a_person
    with house.database.read() as session:
        states = dict(session.execute(select(Series.patient_id, Series.state)).all())
    assert states == {"P1": "OPEN", "P2": "WAITING"}, "a CT waits for its SPECT"
    monkeypatch.setattr(review, "gathered", real)
    work(house)
    assert status(house).troubles == ()


ODD = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"1.2.3", b"", LONG, rb"\ud800", b"unicode_escape", b"ISO 2022 IR 87", b"\x1b$B\x1b("]),
    st.integers(0, 3000).map(lambda number: b"9" * number),
)
KEYS = ("charset", "modality", "description", "name", "patient", "study", "series", "frame", "sop_instance")
EXAMPLES = int(os.environ.get("DICOMNODE_FUZZ", "1000"))
"""Objects of the long target; DICOMNODE_FUZZ=1000000 for a million."""
ENDS = {"INDEXED", "QUARANTINED"}


def check_that_all_end(house: House) -> None:
    work(house)
    found = verdicts(house)
    assert {state for state, _ in found.values()} <= ENDS
    assert all(reason for state, reason in found.values() if state == "QUARANTINED")
    with house.database.read() as session:
        assert trail.verify(session).whole
    assert status(house).troubles == ()


def fuzz_with_values(house: House, examples: int) -> None:
    numbers = iter(range(1, 10**9))

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True)
    @given(st.lists(st.dictionaries(st.sampled_from(KEYS), ODD, min_size=1), min_size=8, max_size=8))
    def values_of_the_wire(several: list[dict[str, bytes]]) -> None:
        for values in several:
            uid = f"1.2.8.{next(numbers)}"
            take(house, part10(data_set(uid, **values), uid), uid)

    values_of_the_wire()
    check_that_all_end(house)


def mutated(whole: bytes, start: int, chance: random.Random) -> bytes:
    """Some bytes of a data set replaced, cut out or doubled, mostly in its header. What is before ``start``
    the receiver writes."""
    data = bytearray(whole)
    for _ in range(chance.randint(1, 12)):
        reach = min(len(data), 4000 if chance.random() < 0.9 else len(data))
        at = chance.randrange(start, max(start + 1, reach))
        data[at : at + chance.choice([0, 1, 1, 4])] = chance.randbytes(chance.choice([0, 1, 1, 2, 8]))
    return bytes(data)


def fuzz_with_samples(house: House, samples: list[Path], examples: int) -> None:
    chance = random.Random(20260601)
    for number in range(examples):
        path = chance.choice(samples)
        _, start = split_dataset(path)
        take(house, mutated(path.read_bytes(), start, chance), f"1.2.8.{number}")
    check_that_all_end(house)


def small_samples(shared: Path) -> list[Path]:
    """Real files that are small enough to be changed many times."""
    found = sorted(p for p in (shared / "real").rglob("*.dcm") if p.stat().st_size < 300_000)
    if not found:
        pytest.skip("needs real samples under shared/real")
    return found[:: max(1, len(found) // 60)]


def test_any_values_off_the_wire_end_indexed_or_quarantined(house: House) -> None:
    fuzz_with_values(house, 12)


def test_any_change_of_real_files_ends_indexed_or_quarantined(house: House, shared: Path) -> None:
    fuzz_with_samples(house, small_samples(shared), 60)


@pytest.mark.long
def test_many_values_off_the_wire_end_indexed_or_quarantined(house: House) -> None:
    fuzz_with_values(house, EXAMPLES // 8)


@pytest.mark.long
def test_many_changes_of_real_files_end_indexed_or_quarantined(house: House, shared: Path) -> None:
    fuzz_with_samples(house, small_samples(shared), EXAMPLES)
