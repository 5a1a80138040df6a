"""Storage commitment: promised only for what is there."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

WELL_KNOWN = "1.2.840.10008.1.20.1.1"


def request_for(*uids):
    information = Dataset()
    information.TransactionUID = generate_uid()
    information.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
        information.ReferencedSOPSequence.append(item)
    return information


@pytest.fixture
def requestor():
    """Asks for commitment; reports that come on the same association or to a port of its own."""
    reports = queue.Queue()

    def take(event):
        reports.put((event.request.EventTypeID, event.event_information))
        return 0x0000, None

    ae = AE("GOOD")
    ae.add_requested_context(StorageCommitmentPushModel)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])

    def ask(port, information, *, stay, action=1):
        association = ae.associate(
            "127.0.0.1", port, ae_title="NODE", evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)]
        )
        assert association.is_established
        status, _reply = association.send_n_action(
            information, action, StorageCommitmentPushModel, WELL_KNOWN
        )
        if stay:
            time.sleep(1.2)
        association.release()
        return status.Status

    yield ask, reports, server.socket.getsockname()[1]
    server.shutdown()


def uids(sequence):
    return [str(item.ReferencedSOPInstanceUID) for item in sequence]


def test_the_report_comes_on_the_same_association_while_it_is_open(serve, ct, send, requestor):
    ask, reports, _port = requestor
    server, image = serve(), ct()
    send(server.port, image)
    information = request_for(image.SOPInstanceUID)
    assert ask(server.port, information, stay=True) == 0
    event_type, report = reports.get(timeout=3)
    assert event_type == 1
    assert report.TransactionUID == information.TransactionUID
    assert uids(report.ReferencedSOPSequence) == [image.SOPInstanceUID]
    assert server.incidents() == {}


def test_what_is_not_there_is_reported_as_failed_on_a_new_association(serve, ct, send, requestor):
    ask, reports, port = requestor
    listed = {"ae_title": "GOOD", "addresses": ["127.0.0.1"]}
    server = serve(peers=[listed | {"commitment_host": "127.0.0.1", "commitment_port": port}])
    here, lost, never = ct(), ct(), generate_uid()
    send(server.port, here, lost)
    [(digest,)] = server.rows(f"SELECT file FROM arrivals WHERE uid = '{lost.SOPInstanceUID}'")
    (server.root / "store" / digest[:2] / digest).unlink()
    assert ask(server.port, request_for(here.SOPInstanceUID, lost.SOPInstanceUID, never), stay=False) == 0
    event_type, report = reports.get(timeout=5)
    assert event_type == 2
    assert uids(report.ReferencedSOPSequence) == [here.SOPInstanceUID]
    assert uids(report.FailedSOPSequence) == [lost.SOPInstanceUID, never]
    assert {item.FailureReason for item in report.FailedSOPSequence} == {0x0112}


def test_an_object_that_is_named_four_thousand_times_is_looked_at_once(serve, ct, send, requestor):
    ask, reports, _port = requestor
    server, image = serve(), ct()
    send(server.port, image)
    assert ask(server.port, request_for(*[image.SOPInstanceUID] * 4000), stay=True) == 0
    _event_type, report = reports.get(timeout=10)
    assert uids(report.ReferencedSOPSequence) == [image.SOPInstanceUID]


def test_a_report_that_nobody_takes_is_an_incident(serve, requestor):
    ask, _reports, _port = requestor
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    listed = {"ae_title": "GOOD", "addresses": ["127.0.0.1"], "commitment_host": "127.0.0.1"}
    server = serve(peers=[listed | {"commitment_port": port}], commitment_attempts=2, commitment_retry_s=0.1)
    assert ask(server.port, request_for(generate_uid()), stay=False) == 0
    server.wait(lambda health: health["incidents"] == 1)
    assert server.told("commitment-failed") == f"the report could not be delivered to 127.0.0.1:{port}"


def test_a_requestor_without_configured_host_is_an_incident_if_it_leaves(serve, requestor):
    ask, _reports, _port = requestor
    server = serve()
    assert ask(server.port, request_for(generate_uid()), stay=False) == 0
    server.wait(lambda health: health["incidents"] == 1)
    assert server.told("commitment-failed") == "it has released and has no commitment_host"


def test_a_request_that_lacks_something_is_refused(serve, requestor):
    ask, _reports, _port = requestor
    server = serve()
    for lacking in ("TransactionUID", "ReferencedSOPSequence"):
        information = request_for(generate_uid())
        del information[lacking]
        assert ask(server.port, information, stay=False) == 0x0115
    assert ask(server.port, request_for(generate_uid()), stay=False, action=7) == 0x0123


def test_orthanc_sends_and_is_promised_only_what_is_there(program, ct, tmp_path):
    """Orthanc releases its association at once and takes the report on a new one."""
    program("Orthanc")
    if os.geteuid() != 0:
        pytest.skip("needs root: Orthanc binds every interface and gets a network namespace of its own")
    image = tmp_path / "image.dcm"
    ct(200_000).save_as(image, enforce_file_format=True)
    script = Path(__file__).with_name("orthanc_scenario.py")
    inside = f'ip link set lo up; exec "{sys.executable}" "{script}" "{tmp_path}" "{image}"'
    environment = os.environ | {"PYTHONPATH": str(script.parents[2])}
    ended = subprocess.run(
        [program("unshare"), "-n", "sh", "-c", inside],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"there": "Success", "lost": "Failure"}
