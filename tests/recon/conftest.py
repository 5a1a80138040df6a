"""One thread for torch: sums by several differ in the last bit, and small tensors are slower by them."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
