"""Which roles a peer gets, in which order."""

import hashlib

import pytest
from pydantic import ValidationError

from dicomnode.delivery.settings import (
    DeliverySettings,
    PeerSettings,
    dose_variant,
    dose_variants,
    expanded,
    report_role,
    reported_doses,
    roles_for,
)


def peer(**more):
    return PeerSettings(**({"name": "pacs", "ae_title": "PACS", "host": "pacs.example"} | more))


def test_the_companion_plan_is_chained_before_the_dose():
    roles = roles_for(peer(objects=("rtdose", "sr", "pdf"), plan_reference="companion"))
    assert roles == (("rtplan", 0), ("rtdose-companion", 1), ("sr-companion", 3), ("pdf", 5))


def test_without_a_plan_nothing_is_chained():
    roles = roles_for(peer(objects=("sr", "rtdose", "tia-map")))
    assert roles == (("sr", 0), ("rtdose", 2), ("tia-map", 4))


@pytest.mark.parametrize(
    ("bits", "plan", "role"),
    [
        (32, "none", "rtdose"),
        (16, "none", "rtdose-16"),
        (32, "companion", "rtdose-companion"),
        (16, "companion", "rtdose-16-companion"),
    ],
)
def test_each_encoding_has_a_role_of_its_own(bits, plan, role):
    variant = dose_variant(peer(rtdose_bits=bits, plan_reference=plan))
    assert (variant.role, variant.bits, variant.plan) == (role, bits, plan)


def test_each_peer_gets_the_report_that_refers_to_its_dose():
    peers = (peer(name="a"), peer(name="b", rtdose_bits=16), peer(name="c", objects=("sr",), rtdose_bits=16))
    assert [dict(roles_for(p))[report_role(p)] for p in peers] == [2, 2, 0]
    assert [report_role(p) for p in peers] == ["sr", "sr-16", "sr"], "c gets no dose, so the plain report"
    assert reported_doses(peers) == {"sr": "rtdose", "sr-16": "rtdose-16"}


def test_an_existing_plan_is_part_of_the_role_which_fits_its_column():
    uid = "1.2.826.0.1.3680043.10.543.7"
    variant = dose_variant(peer(rtdose_bits=16, plan_reference=f"existing:{uid}"))
    assert variant.role == "rtdose-16-existing-" + hashlib.sha256(uid.encode()).hexdigest()[:8]
    assert (variant.plan, variant.plan_uid) == ("existing", uid)
    assert len(variant.role) <= 32  # records.Result.role


def test_only_wanted_variants_are_made_each_once():
    peers = (
        peer(name="a"),
        peer(name="b"),
        peer(name="c", rtdose_bits=16),
        peer(name="d", objects=("sr",), plan_reference="companion"),
    )
    assert [variant.role for variant in dose_variants(peers)] == ["rtdose", "rtdose-16"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"plan_reference": "existing:../../etc"}, "plan_reference"),
        ({"plan_reference": "existing:1." + "2" * 64}, "longer than 64"),
        ({"objects": ("sr", "sr")}, "listed twice"),
        ({"objects": ()}, "at least 1 item"),
        ({"ae_title": "SEVENTEEN-LETTERS"}, "at most 16"),
        ({"retry_delays_min": (1.0, 0.0)}, "greater than 0"),
        ({"nonsense": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_setting_is_named(more, message):
    with pytest.raises(ValidationError, match=message):
        peer(**more)


def test_two_peers_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="two peers are named pacs"):
        DeliverySettings(peers=(peer(), peer()))


def test_a_family_of_objects_is_sent_whole_and_its_absence_is_no_fault() -> None:
    wanted = roles_for(peer(objects=("spect-pt", "rtdose")))
    made = ["rtdose", "spect-pt-T1-0000", "spect-pt-T1-0001", "spect-nm-T1"]
    assert expanded(wanted, made) == (("spect-pt-T1-0000", 0), ("spect-pt-T1-0001", 0), ("rtdose", 2))
    assert expanded(wanted, ["rtdose"]) == (("rtdose", 2),)
