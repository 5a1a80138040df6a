"""A small PACS for the demonstration: keeps what it is sent and commits to it. Not for use elsewhere."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    NuclearMedicineImageStorage,
    ParametricMapStorage,
    PatientRadiationDoseSRStorage,
    PositronEmissionTomographyImageStorage,
    RTDoseStorage,
    RTPlanStorage,
    Verification,
)

STORED = (
    RTDoseStorage,
    RTPlanStorage,
    ParametricMapStorage,
    EncapsulatedPDFStorage,
    ComprehensiveSRStorage,
    Comprehensive3DSRStorage,
    PatientRadiationDoseSRStorage,
    PositronEmissionTomographyImageStorage,
    NuclearMedicineImageStorage,
)


class DemoPacs:
    """Receives results on a free loopback port into ``folder``, one file per SOP Instance UID."""

    def __init__(self, folder: Path, ae_title: str = "PACS") -> None:
        self.folder, self.ae_title = folder, ae_title
        folder.mkdir(parents=True, exist_ok=True)
        self.received: dict[str, Path] = {}
        self._lock = threading.Lock()
        entity = AE(ae_title)
        for context in (*STORED, Verification):
            entity.add_supported_context(context, ExplicitVRLittleEndian)
        self._server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def _store(self, event: Any) -> int:
        modality = {RTDoseStorage: "RTDOSE", RTPlanStorage: "RTPLAN"}.get(
            event.request.AffectedSOPClassUID, ""
        )
        uid = str(event.request.AffectedSOPInstanceUID)
        path = self.folder / f"{modality or 'object'}-{uid}.dcm"
        path.write_bytes(event.encoded_dataset())
        with self._lock:
            self.received[uid] = path
        return 0x0000

    def close(self) -> None:
        """Stop receiving."""
        self._server.shutdown()
