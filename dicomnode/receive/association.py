"""One association, in one thread: reads a PDU only when it is ready to deal with it, which is the
back-pressure; answers an object only when it is safe."""

from __future__ import annotations

import contextlib
import logging
import ssl
import struct
from collections import deque
from dataclasses import dataclass, replace

from dicomnode.receive.acceptance import (
    CLASS_NOT_SUPPORTED,
    INVALID_ARGUMENT,
    NO_SUCH_ACTION,
    RESOURCE_LIMITATION,
    STORAGE_COMMITMENT,
    SUCCESS,
    UNRECOGNISED_OPERATION,
    Rejection,
    address_may_connect,
    judge,
    printable,
)
from dicomnode.receive.command import (
    ACTION_TYPE,
    AFFECTED_CLASS,
    AFFECTED_INSTANCE,
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    EVENT_TYPE,
    MAX_COMMAND_BYTES,
    MESSAGE_ID,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    REQUESTED_CLASS,
    RESPONDED_ID,
    RESPONSE,
    Command,
    encode_command,
    parse_command,
    response,
    split_pdvs,
    to_pdus,
)
from dicomnode.receive.commitment import (
    REQUEST_ACTION,
    WELL_KNOWN_INSTANCE,
    CommitmentRequest,
    Report,
    Reporter,
    answer,
    read_request,
)
from dicomnode.receive.incidents import Caller
from dicomnode.receive.negotiation import (
    APPLICATION_CONTEXT,
    Context,
    Proposal,
    accept,
    read_proposal,
    read_titles,
    reject,
)
from dicomnode.receive.places import Place, Places
from dicomnode.receive.sinks import CommitmentInformation, Sink, Unwanted
from dicomnode.receive.storing import Storage, Storing
from dicomnode.receive.tls import subject_of
from dicomnode.receive.wire import (
    ABORT,
    ASSOCIATE_RQ,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    PeerGone,
    PeerMisbehaved,
    Wire,
)

logger = logging.getLogger(__name__)

_REPORT_PAUSE_S = 0.5
"""How long the requestor of a commitment may take to release before its report goes out on the same
association: some (Orthanc) release at once and expect it on a new one."""

_MOST_REQUESTS = 16
"""Commitments of one association that wait for their reports."""

_RELEASED = struct.pack(">BxLxxxx", RELEASE_RP, 4)


@dataclass(frozen=True)
class House:
    """What all associations of a receiver share."""

    storage: Storage
    places: Places
    reporter: Reporter
    tls: ssl.SSLContext | None


@dataclass(frozen=True)
class _Message:
    context_id: int
    command: Command
    sink: Sink


class Association:
    """Serves one connection from its first byte to its last."""

    def __init__(self, house: House, wire: Wire, place: Place, caller: Caller) -> None:
        self._house = house
        self._wire = wire
        self._place = place
        self._caller = caller
        self._settings = house.storage.settings
        self._contexts: dict[int, Context] = {}
        self._peer_max_pdu_bytes = 0
        self._command = bytearray()
        self._message: _Message | None = None
        self._requests: deque[tuple[int, CommitmentRequest]] = deque()
        self._unconfirmed: dict[int, Report] = {}
        self._next_message_id = 1
        self._over = False

    def run(self) -> None:
        """The thread's work. Whatever happens, connection, place and temporary are given back."""
        with contextlib.ExitStack() as ending:
            ending.callback(self._house.places.leave, self._place)
            ending.callback(self._deliver_late_reports)  # its work counts against its place
            ending.callback(self._wire.hang_up)
            ending.callback(self._abort_unless_over)
            ending.callback(self._drop_message)
            try:
                if self._establish():
                    who = printable(self._caller.calling_ae), self._caller.address
                    logger.info("association of %s from %s", *who)
                    self._serve()
                    logger.info("association of %s from %s is released", *who)
                self._over = True
            except PeerMisbehaved as error:
                self._tell(error.kind, f"{error}; connection aborted")
            except PeerGone as error:
                if self._wire.received_bytes:
                    self._tell("aborted", f"{error} {self._where()}")

    def _establish(self) -> bool:
        if not address_may_connect(self._caller.address, self._settings):
            raise PeerMisbehaved("association-refused", "no listed peer has this address")
        if self._house.tls is not None:
            secured = self._wire.secure(self._house.tls)
            self._caller = replace(self._caller, subject=subject_of(secured.getpeercert()))
        kind, body = self._wire.read_pdu()
        if kind != ASSOCIATE_RQ:
            raise PeerMisbehaved("malformed", f"began with a PDU of type {kind}")
        called, calling = read_titles(bytes(body))  # before what a stranger may make long
        self._caller = replace(self._caller, calling_ae=calling, called_ae=called)
        rejection = judge(calling, called, self._caller.address, self._caller.subject, self._settings)
        proposal = read_proposal(bytes(body)) if rejection is None else None
        if proposal is not None:
            rejection = self._rejection(proposal)
        if proposal is None or rejection is not None:
            assert rejection is not None
            self._tell("association-refused", rejection.sentence)
            self._wire.send(reject(rejection.result, rejection.source, rejection.reason))
            return False
        accepted, self._contexts = accept(proposal, self._settings.max_pdu_bytes)
        self._peer_max_pdu_bytes = proposal.max_pdu_bytes
        self._wire.end_message()
        self._wire.send(accepted)
        self._house.storage.tally.add("associations")
        if not self._contexts:
            self._tell("association-refused", f"nothing it offers is accepted ({proposal.offered()})")
        return True

    def _rejection(self, proposal: Proposal) -> Rejection | None:
        if not proposal.protocol_version & 1:
            return Rejection(1, 2, 2, f"protocol version {proposal.protocol_version:#06x} is not supported")
        if proposal.application_context != APPLICATION_CONTEXT:
            return Rejection(1, 1, 2, "application context is not DICOM's")
        if not self._house.places.serve(self._place):
            return Rejection(2, 3, 2, "all places, or all places of its address, are taken")
        return None

    def _serve(self) -> None:
        while True:
            if self._requests and self._wire.silent_for(_REPORT_PAUSE_S):
                self._send_reports()
            kind, body = self._wire.read_pdu()
            if kind == P_DATA:
                for context_id, header, fragment in split_pdvs(body):
                    self._take(context_id, header, fragment)
            elif kind == RELEASE_RQ:
                self._wire.send(_RELEASED)
                return
            elif kind == ABORT:
                raise PeerGone("aborted the association")
            else:
                raise PeerMisbehaved("malformed", f"sent a PDU of type {kind} within an association")

    def _take(self, context_id: int, header: int, fragment: memoryview) -> None:
        is_command, is_last = bool(header & 1), bool(header & 2)
        if is_command != (self._message is None):
            raise PeerMisbehaved("malformed", "command and data set fragments are mixed up")
        if is_command:
            self._command += fragment
            if len(self._command) > MAX_COMMAND_BYTES:
                raise PeerMisbehaved("over-limit", f"command set is longer than {MAX_COMMAND_BYTES} bytes")
            if is_last:
                command = parse_command(bytes(self._command))
                self._command.clear()
                self._begin(context_id, command)
        elif self._message is not None:
            if context_id != self._message.context_id:
                raise PeerMisbehaved("malformed", "data set fragment on another presentation context")
            self._message.sink.write(fragment)
            if is_last:
                self._end()

    def _begin(self, context_id: int, command: Command) -> None:
        context = self._contexts.get(context_id)
        if context is None:
            raise PeerMisbehaved(
                "malformed", f"uses presentation context {context_id}, which was not accepted"
            )
        self._message = _Message(context_id, command, self._sink(context_id, context, command))
        if not command.has_data_set:
            self._end()

    def _end(self) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        self._wire.end_message()
        status, comment = message.sink.finish()
        field = message.command.field
        if not field & RESPONSE and field != C_CANCEL_RQ:
            self._send(message.context_id, response(message.command, status, comment))

    def _sink(self, context_id: int, context: Context, command: Command) -> Sink:
        field = command.field
        if field & RESPONSE:
            self._unconfirmed.pop(command.number(RESPONDED_ID), None)
            return Unwanted(SUCCESS)
        if field == C_STORE_RQ:
            return Storing(self._house.storage, self._caller, context, command)
        if field == C_ECHO_RQ:
            return Unwanted(SUCCESS)
        if field == N_ACTION_RQ and context.abstract_syntax == STORAGE_COMMITMENT:
            return self._commitment_sink(context_id, context, command)
        return Unwanted(UNRECOGNISED_OPERATION)

    def _commitment_sink(self, context_id: int, context: Context, command: Command) -> Sink:
        if command.uid(REQUESTED_CLASS) != STORAGE_COMMITMENT:
            return Unwanted(CLASS_NOT_SUPPORTED)
        if command.number(ACTION_TYPE) != REQUEST_ACTION:
            return Unwanted(NO_SUCH_ACTION)

        def commit(encoded: bytes) -> int:
            request = read_request(encoded, context.transfer_syntax)
            if request is None:
                return INVALID_ARGUMENT
            if len(self._requests) >= _MOST_REQUESTS:
                return RESOURCE_LIMITATION
            self._requests.append((context_id, request))
            return SUCCESS

        return CommitmentInformation(commit)

    def _send(self, context_id: int, command: bytes, data_set: bytes = b"") -> None:
        limit = self._peer_max_pdu_bytes
        pdus = to_pdus(context_id, command, limit, command=True)
        if data_set:
            pdus += to_pdus(context_id, data_set, limit, command=False)
        self._wire.send(pdus)

    def _send_reports(self) -> None:
        while self._requests:
            context_id, request = self._requests.popleft()
            report = answer(request, self._house.storage.ledger)
            message_id, self._next_message_id = self._next_message_id, self._next_message_id % 65535 + 1
            self._unconfirmed[message_id] = report
            command = encode_command(
                {
                    AFFECTED_CLASS: STORAGE_COMMITMENT,
                    COMMAND_FIELD: N_EVENT_REPORT_RQ,
                    MESSAGE_ID: message_id,
                    DATA_SET_TYPE: 1,
                    AFFECTED_INSTANCE: WELL_KNOWN_INSTANCE,
                    EVENT_TYPE: report.event_type,
                }
            )
            self._send(context_id, command, report.encoded(self._contexts[context_id].transfer_syntax))

    def _deliver_late_reports(self) -> None:
        ledger = self._house.storage.ledger
        unsent = (answer(request, ledger) for _context, request in self._requests)
        for report in (*self._unconfirmed.values(), *unsent):
            self._house.reporter.deliver(report, self._caller)

    def _abort_unless_over(self) -> None:
        # Also where our own code failed: the peer hears that it has to send again.
        if not self._over:
            self._wire.abort(source=2)

    def _drop_message(self) -> None:
        if self._message is not None:
            self._message.sink.discard()

    def _where(self) -> str:
        return "within a message" if self._message or self._command else "between messages"

    def _tell(self, kind: str, sentence: str) -> None:
        self._house.storage.desk.tell(kind, self._caller, sentence)
