"""The same run on a Dask cluster, one of whose workers is killed."""

import os
import signal
import threading
import time

import pytest
from distributed import LocalCluster
from pipeline_runs import (
    LABELS,
    NARROW,
    PLACE,
    assert_same_cubes,
    association,
    everything_in,
    files,
)

from msa3d_steps import InputError, MSA3DSpec3Pipeline, tasks

PATIENCE = 60  # s


@pytest.fixture(scope="module")
def asn(simulated, tmp_path_factory):
    return association(tmp_path_factory.mktemp("asn"), files(simulated, "cal"))


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


def run(asn, out, **options):
    return MSA3DSpec3Pipeline.call(
        asn, output_dir=str(out), save_results=True, maximum_cores="none", steps=NARROW,
        **options,
    )  # fmt: skip


def kill_a_builder(scratch, killed):
    """Kill the first process that has scratch of a source, whose number is in its name."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for path in scratch.glob("s*"):
            killed.append(int(path.name.split("-")[1]))
            os.kill(killed[0], signal.SIGKILL)
            return
        time.sleep(0.002)


@pytest.mark.skipif(not os.environ.get("MSA3D_LONG"), reason="set MSA3D_LONG=1: it takes long")
def test_worker_that_is_killed(asn, cluster, tmp_path):
    """Its cube is built by another; all are those of one process, bit for bit."""
    workers = {nanny.pid for nanny in cluster.workers.values()}
    out, killed = tmp_path / "cluster", []
    killer = threading.Thread(target=kill_a_builder, args=(out / PLACE / "unfinished", killed))
    killer.start()
    cubes = run(asn, out, dask_scheduler=cluster.scheduler_address)
    killer.join()
    assert set(killed) < workers
    assert list(cubes.paths) == LABELS
    run(asn, tmp_path / "alone")
    assert_same_cubes(out, tmp_path / "alone")
    assert everything_in(out) == everything_in(tmp_path / "alone")


def test_no_scheduler(asn, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "WAIT", 2)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 "):
        run(asn, tmp_path, dask_scheduler="tcp://127.0.0.1:9")


@pytest.mark.parametrize("address", ["nonsense", "ftp://somewhere:8786"])
def test_no_address(asn, tmp_path, monkeypatch, address):
    monkeypatch.setattr(tasks, "WAIT", 2)
    with pytest.raises(InputError, match="no Dask scheduler answers at"):
        run(asn, tmp_path, dask_scheduler=address)


def test_other_version(asn, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "__version__", "0.0.7")
    with pytest.raises(InputError, match=r"has msa3d_steps .*, this is 0\.0\.7; give all workers"):
        run(asn, tmp_path, dask_scheduler=cluster.scheduler_address)
    assert not list(tmp_path.glob("*.fits"))
