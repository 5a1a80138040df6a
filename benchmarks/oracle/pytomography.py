"""PyTomography as a second system model, in a process of its own.

For comparison, and for those who want its numbers. Install pytomography==3.4.0 in an environment of its own
and name its interpreter. It must never be imported in the node's process (``pytomography_worker`` says why).
Arrays travel as npz files.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dicomnode.errors import EngineUnavailable
from dicomnode.recon.camera.collimator import Response
from dicomnode.recon.camera.model import Geometry, Views

WORKER = Path(__file__).with_name("pytomography_worker.py")


class PyTomographyModel:
    """``model.SystemModel`` by PyTomography. A context manager: leaving it ends the process.

    Parameters
    ----------
    geometry, response, mu_per_cm : as for ``projector.ParallelHoleModel``; no tail of the response
    interpreter : Python that has pytomography
    threads : torch's threads in that process
    min_sigmas : reach of its blur kernels, in sigmas

    Raises
    ------
    EngineUnavailable : the interpreter is missing, or has no pytomography, or its process ended
    """

    def __init__(
        self,
        geometry: Geometry,
        response: Response | None,
        mu_per_cm: npt.NDArray[np.float32] | None,
        *,
        interpreter: Path,
        threads: int = 1,
        min_sigmas: float = 3.0,
    ) -> None:
        self._geometry = geometry
        self.seconds, self.cpu_seconds = 0.0, 0.0
        """What the last request took inside PyTomography, without the exchange of files."""
        self._folder = tempfile.TemporaryDirectory(prefix="dicomnode-pytomography-")
        self._said = Path(self._folder.name) / "stderr.txt"
        # -P: the worker's folder, where a module named pytomography lies, is not to be searched.
        command = [str(interpreter), "-B", "-P", str(WORKER), str(threads)]
        try:
            with self._said.open("wb") as said:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
                )
        except OSError as error:
            self._folder.cleanup()
            raise EngineUnavailable(
                f"{interpreter} does not run: install pytomography==3.4.0 in an environment of its own"
            ) from error
        self._build(response, mu_per_cm, min_sigmas)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove its files."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()
        self._process.wait()
        self._folder.cleanup()

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    def forward(self, image: Tensor, views: Views = None) -> Tensor:
        """Expected counts (views, axial, transaxial) of an image (z, y, x)."""
        return self._ask("forward", "projections", views, image=image.cpu().numpy())

    def adjoint(self, projections: Tensor, views: Views = None) -> Tensor:
        """Its back projection; no exact transpose, for it turns back by interpolating anew."""
        return self._ask("adjoint", "image", views, projections=projections.cpu().numpy())

    def sensitivity(self, views: Views = None) -> Tensor:
        """The back projection of ones."""
        number = self._geometry.views if views is None else len(views)
        return self.adjoint(torch.ones((number, *self._geometry.projection_shape[1:])), views)

    def osem(self, counts: Tensor, scatter: Tensor, *, subsets: int, iterations: int) -> Tensor:
        """PyTomography's own OSEM. Views must be in order of their angle for its subsets to be ours."""
        return self._ask("osem", "image", None, counts=counts.cpu().numpy(), scatter=scatter.cpu().numpy(),
                         subsets=subsets, iterations=iterations)  # fmt: skip

    def _build(
        self, response: Response | None, mu_per_cm: npt.NDArray[np.float32] | None, min_sigmas: float
    ) -> None:
        given: dict[str, Any] = {
            "shape_zyx": self._geometry.shape_zyx,
            "voxel_mm": self._geometry.voxel_mm,
            "angle_deg": self._geometry.angle_deg,
            "radius_mm": self._geometry.radius_mm,
        }
        if mu_per_cm is not None:
            given["mu_per_cm"] = mu_per_cm
        if response is not None:
            given["response"] = (response.slope, response.face_mm, response.intrinsic_mm)
            given["min_sigmas"] = min_sigmas
        self._request("build", given)

    def _ask(self, do: str, what: str, views: Sequence[int] | None, **given: Any) -> Tensor:
        if views is not None:
            given["views"] = np.array(views)
        return torch.from_numpy(np.ascontiguousarray(self._request(do, given)[what]))

    def _request(self, do: str, given: dict[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
        question, reply = Path(self._folder.name) / "in.npz", Path(self._folder.name) / "out.npz"
        np.savez(question, **given)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"do": do, "in": str(question), "out": str(reply)}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            reason = (self._said.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
            self.close()
            raise EngineUnavailable(
                f"PyTomography's process ended at {do!r}: {reason}. It needs pytomography==3.4.0"
            )
        spent = json.loads(line)
        self.seconds, self.cpu_seconds = float(spent["seconds"]), float(spent["cpu_seconds"])
        if do == "build":
            return {}
        with np.load(reply) as arrays:
            return dict(arrays)
