"""Dask workers do what one process does."""

import functools
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import zarr

import leanline as ll
from leanline.data import Normalisation
from leanline.errors import ConfigError, DataError, RunError
from leanline.inference import ApplyConfig, Cluster, apply, apply_on_cluster

CONFIG = ApplyConfig(backend="reference", threads=1, scale=Normalisation(100.0, 50.0))
LOAD = functools.partial(ll.models.MSD, 2, 1, 3, seed=1)

SCRIPT = """
import functools, sys
from leanline.data import Normalisation
from leanline.inference import ApplyConfig, Cluster, apply_on_cluster
from leanline.models import MSD
config = ApplyConfig(backend="reference", threads=1, scale=Normalisation(100.0, 50.0))
load = functools.partial(MSD, 2, 1, 3, seed=1)
for applied in apply_on_cluster(load, [sys.argv[1:]], config, Cluster(workers=1)):
    print(applied.done.slices)
"""


@pytest.fixture
def volume(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (40, 12, 15), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="minisblack")
    zarr.create_array(tmp_path / "in.zarr", data=values, chunks=(4, 12, 15))
    return tmp_path


def test_processes(volume):
    apply(LOAD(), volume / "in.tif", volume / "one.tif", CONFIG)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, volume / "in.tif", volume / "two.tif"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["40"]
    assert (volume / "one.tif").read_bytes() == (volume / "two.tif").read_bytes()


@pytest.fixture(scope="module")
def scheduler():
    """The address of workers in this process."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize("suffix", [".tif", ".zarr", "/"])
def test_scheduler(suffix, volume, scheduler):
    one, two = f"{volume}/one{suffix}", f"{volume}/two{suffix}"
    source = volume / ("in.zarr" if suffix == ".zarr" else "in.tif")
    apply(LOAD(), source, one, CONFIG)
    cluster = Cluster(scheduler=scheduler)
    (applied,) = apply_on_cluster(LOAD, [(source, two)], CONFIG, cluster)
    assert (applied.done.slices, applied.found) == (40, 0)
    assert applied.done.times.network > 0
    (again,) = apply_on_cluster(LOAD, [(source, two)], CONFIG, cluster)
    assert (again.how, again.found) == (None, 40)
    for file in sorted((volume / f"one{suffix}").rglob("*")) or [volume / f"one{suffix}"]:
        if file.is_file():
            other = volume / f"two{suffix}" / file.relative_to(volume / f"one{suffix}")
            assert file.read_bytes() == other.read_bytes()


def test_an_error_of_a_worker_reaches_the_user_and_the_rest_goes_on(volume, scheduler):
    cluster, pair = Cluster(scheduler=scheduler), (volume / "in.zarr", volume / "o.tif")
    chunk = volume / "in.zarr" / "c" / "5" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:20])
    with pytest.raises(DataError, match="slices 20 to 24 are damaged"):
        list(apply_on_cluster(LOAD, [pair], CONFIG, cluster))
    assert (volume / "o.tif.partial.jsonl").exists()
    chunk.write_bytes(whole)
    (applied,) = apply_on_cluster(LOAD, [pair], CONFIG, cluster)
    assert applied.done.slices + applied.found == 40


def test_errors(monkeypatch):
    monkeypatch.setattr("leanline.records.cluster._PATIENCE", 0.5)
    with pytest.raises(ConfigError, match="one of them"):
        Cluster()
    with pytest.raises(ConfigError, match="at least 1"):
        Cluster(workers=0)
    with pytest.raises(RunError, match="no Dask scheduler answers"):
        list(apply_on_cluster(LOAD, [], CONFIG, Cluster(scheduler="tcp://127.0.0.1:1")))
