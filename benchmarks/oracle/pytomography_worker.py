"""PyTomography 3.4.0 in a process of its own: reads requests as JSON lines, exchanges arrays as npz files.

Run by path with an interpreter that has pytomography (``python pytomography_worker.py``), for its import
silences all warnings and sets a device for the whole process. So this file imports nothing of dicomnode.
Arrays are in our convention (``model.Projections``); here they are turned into PyTomography's: objects are
(x, y, z), projections (view, r, z), its angle is 270 degrees less ours, lengths are cm.

Requests: {"do": "build" | "forward" | "adjoint" | "osem", "in": path, "out": path}, answered by
{"seconds": wall, "cpu_seconds": of all threads} or {"error": text}.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np


class Camera:
    """A system matrix of PyTomography built from our geometry."""

    def __init__(self, given: Any) -> None:
        import torch
        from pytomography.metadata.SPECT import SPECTObjectMeta, SPECTProjMeta, SPECTPSFMeta
        from pytomography.projectors.SPECT import SPECTSystemMatrix
        from pytomography.transforms.SPECT import SPECTAttenuationTransform, SPECTPSFTransform

        self.torch = torch
        planes, size, _ = (int(n) for n in given["shape_zyx"])
        across, along = (float(edge) / 10 for edge in given["voxel_mm"])
        self.views = len(given["angle_deg"])
        transforms = []
        if "mu_per_cm" in given:
            transforms.append(SPECTAttenuationTransform(self._object(given["mu_per_cm"])))
        if "response" in given:
            slope, face, intrinsic = (float(value) for value in given["response"])
            transforms.append(SPECTPSFTransform(SPECTPSFMeta(
                sigma_fit_params=[slope, face / 10, intrinsic / 10],
                sigma_fit=lambda d, a, b, c: np.sqrt((a * d + b) ** 2 + c**2),
                min_sigmas=float(given["min_sigmas"]),
            )))  # fmt: skip
        views = SPECTProjMeta((size, planes), (across, along), (270.0 - given["angle_deg"]) % 360.0,
                              radii=given["radius_mm"] / 10)  # fmt: skip
        self.matrix = SPECTSystemMatrix(
            transforms, [], SPECTObjectMeta((across, across, along), (size, size, planes)), views
        )

    def forward(self, given: Any) -> dict[str, Any]:
        views = self._select(given)
        return {"projections": self._counts(self.matrix.forward(self._object(given["image"]), views))}

    def adjoint(self, given: Any) -> dict[str, Any]:
        views = self._select(given)
        return {"image": self._image(self.matrix.backward(self._projections(given["projections"]), views))}

    def osem(self, given: Any) -> dict[str, Any]:
        from pytomography.algorithms import OSEM
        from pytomography.likelihoods import PoissonLogLikelihood

        likelihood = PoissonLogLikelihood(
            self.matrix,
            self._projections(given["counts"]),
            additive_term=self._projections(given["scatter"]),
        )
        image = OSEM(likelihood)(n_iters=int(given["iterations"]), n_subsets=int(given["subsets"]))
        return {"image": self._image(image)}

    def _select(self, given: Any) -> int | None:
        if "views" not in given:
            return None
        self.matrix.subset_indices_array = [self.torch.as_tensor(given["views"])]
        return 0

    def _object(self, image: Any) -> Any:
        return self.torch.as_tensor(np.ascontiguousarray(image.transpose(2, 1, 0), dtype=np.float32))

    def _image(self, tensor: Any) -> Any:
        return tensor.cpu().numpy().transpose(2, 1, 0)

    def _projections(self, counts: Any) -> Any:
        return self.torch.as_tensor(np.ascontiguousarray(counts.transpose(0, 2, 1), dtype=np.float32))

    def _counts(self, tensor: Any) -> Any:
        return tensor.cpu().numpy().transpose(0, 2, 1)


def answer(camera: Camera | None, request: dict[str, str]) -> tuple[Camera | None, dict[str, Any]]:
    """Carry out one request; its arrays go to the file that it names."""
    with np.load(request["in"]) as given:
        begun, worked = time.perf_counter(), time.process_time()
        if request["do"] == "build":
            camera = Camera(given)
            return camera, {
                "seconds": time.perf_counter() - begun,
                "cpu_seconds": time.process_time() - worked,
            }
        if camera is None:
            return None, {"error": "build comes first"}
        arrays = getattr(camera, request["do"])(given)
    spent = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - worked}
    np.savez(request["out"], **arrays)
    return camera, spent


def main() -> None:
    """Answer until standard input ends. What PyTomography prints goes to standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    import pytomography
    import torch

    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    pytomography.set_device("cpu")
    camera: Camera | None = None
    for line in sys.stdin:
        camera, reply = answer(camera, json.loads(line))
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
