"""One emission series, of whatever class, as a volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from dicomnode.dicom import sop_classes as sop
from dicomnode.dicom.header.dataset import open_object, quiet
from dicomnode.dicom.header.headers import role_of
from dicomnode.dicom.volumes.enhanced import read_enhanced_pet
from dicomnode.dicom.volumes.nm import read_nm
from dicomnode.dicom.volumes.pt import read_pet
from dicomnode.errors import Inconsistent, Unsupported
from dicomnode.model.series import EmissionVolume, Role


@quiet()
def read_emission(paths: Sequence[Path], zone: ZoneInfo) -> EmissionVolume:
    """The volume of one series: NM reconstruction, PET slices, or enhanced PET.

    ``zone`` is the site's, for times without an offset. Everything doubtful is among the volume's findings.
    Raises Refused (MissingAttribute, Inconsistent, Unsupported), whose message names object, attribute,
    value and remedy, for what cannot be used.
    """
    objects = [open_object(path, pixels=True) for path in paths]
    if not objects:
        raise Inconsistent("a series without an object")
    for obj in objects:
        role, because = role_of(obj)
        if role is not Role.EMISSION:
            raise Unsupported(because or f"an object of role {role} is no emission image", uid=obj.uid)
    kind = objects[0].text("SOPClassUID")
    if kind == sop.PET:
        return read_pet(objects, zone)
    if len(objects) > 1:
        raise Unsupported(
            f"the series holds {len(objects)} multi-frame objects, of which each is a volume",
            attribute="SeriesInstanceUID", uid=objects[0].text("SeriesInstanceUID"),
            remedy="Send the wanted reconstruction as a series of its own",
        )  # fmt: skip
    return read_nm(objects[0], zone) if kind == sop.NM else read_enhanced_pet(objects[0], zone)
