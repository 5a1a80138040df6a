"""The engine on a GPU: in numba's simulator everywhere, on a device where there is one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dicomnode.dose.montecarlo import MonteCarlo
from dicomnode.errors import EngineUnavailable, OutOfDomain
from dicomnode.montecarlo import gpu
from dicomnode.montecarlo.batches import Run, device_name
from dicomnode.montecarlo.settings import TransportSettings


def test_device_functions_use_no_min_and_max():
    """numba 0.68 does not compile them for CUDA and integers; ``device.least`` and ``most`` it does."""
    folder = Path(gpu.__file__).parent
    for module in ("electron", "gpu_kernels", "history", "particle", "photon", "random"):
        text = (folder / f"{module}.py").read_text(encoding="utf-8")
        assert not re.findall(r"(?<![\w.])(?:min|max)\(", text), module


def test_the_engine_in_the_cuda_simulator_gives_the_bytes_of_the_cpu():
    """Dose and uncertainty, chunks of launches, two devices, interruption and stops: see the script."""
    script = Path(__file__).with_name("simulator.py")
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "same bytes\n", done.stderr


@pytest.mark.skipif(bool(gpu.names()), reason="there is a CUDA device")
def test_a_gpu_that_is_missing_is_an_error_and_never_the_cpu():
    with pytest.raises(EngineUnavailable, match=r"device = cuda: no CUDA device is to be seen.*device = cpu"):
        MonteCarlo(TransportSettings(device="cuda"))
    assert device_name(TransportSettings(device="auto")) == "cpu"


def test_the_gpus_of_workers_are_asked_for_there_and_named_so():
    settings = TransportSettings(device="cuda", scheduler="tcp://127.0.0.1:9")
    assert MonteCarlo(settings).identity.digests["device"] == "cuda of the workers"
    with pytest.raises(ValueError, match="its workers might differ; say cpu or cuda"):
        TransportSettings(device="auto", scheduler="tcp://127.0.0.1:9")


def test_a_grid_that_does_not_fit_is_refused_before_anything_is_allocated():
    match = r"GPU memory for 8 voxels is 2\.5 GB; valid: up to the 1\.50 GB that are free; use device = cpu"
    with pytest.raises(OutOfDomain, match=match):
        gpu.require_memory(2.5e9, 1.5e9, "8 voxels")
    gpu.require_memory(1.5e9, 1.5e9, "8 voxels")


@pytest.mark.parametrize(
    ("size", "took_s", "following"),
    [
        (4096, 20.0, 4096),  # compilation
        (4096, 1e-4, 8 * 4096),  # grows by steps, so that no guess takes long
        (1 << 22, 1.0, 1 << 21),
        (1 << 23, 1e-3, 1 << 24),  # as much as the list holds
    ],
)
def test_launches_take_half_a_second(size, took_s, following):
    assert gpu.next_size(size, took_s) == following


@pytest.mark.skipif(not gpu.names(), reason="no CUDA device here")
@pytest.mark.parametrize("name", ["Lu-177", "I-131", "F-18"])
def test_a_device_agrees_with_the_cpu_and_repeats_itself(cube, name):
    """Same histories; a logarithm that differs in its last bit parts a few of them, which statistics hide."""
    sums = {}
    for device in ("cpu", "cuda", "cuda"):
        run = Run(cube(name), TransportSettings(decays=1e4, device=device), 5)
        found = [run.batch(c, 0, 200_000, lambda _: None) for c in run.components]
        if device in sums:
            for (energy, totals), (before, earlier) in zip(found, sums[device], strict=True):
                assert np.array_equal(energy, before)
                assert np.array_equal(totals, earlier)
        sums[device] = found
    for (energy, totals), (other, others) in zip(sums["cpu"], sums["cuda"], strict=True):
        assert abs(int(energy.sum()) - int(other.sum())) < 1e-3 * totals[0]
        assert np.abs(energy - other).sum() < 0.02 * totals[0]
        assert totals[0] == pytest.approx(others[0], rel=1e-9)
