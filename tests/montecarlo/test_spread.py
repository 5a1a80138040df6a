"""A simulation over the workers of a Dask cluster is the simulation of one machine."""

from __future__ import annotations

import pytest

from dicomnode.errors import EngineUnavailable
from dicomnode.montecarlo.cluster import cluster
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import simulate


def quiet(_fraction, _what):
    return None


@pytest.fixture
def address(tmp_path):
    import distributed

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None,
        local_directory=str(tmp_path),
    ) as workers:  # fmt: skip
        yield workers.scheduler_address


def test_two_workers_give_the_bytes_of_one_machine(cube, address):
    alone = TransportSettings(decays=2e4, batches=5, threads=1)
    shared = alone.model_copy(update={"scheduler": address})
    one, two = (simulate(cube("Lu-177"), settings, 4, quiet) for settings in (alone, shared))
    assert one.mev.tobytes() == two.mev.tobytes()
    assert one.sigma_mev.tobytes() == two.sigma_mev.tobytes()
    assert one.escaped_mev == two.escaped_mev


def test_a_scheduler_that_does_not_answer_is_an_error(monkeypatch):
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(EngineUnavailable, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"),
        cluster("tcp://127.0.0.1:9"),
    ):
        pass
