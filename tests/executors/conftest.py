"""A Slurm of two nodes that the tests of this folder share."""

from collections.abc import Iterator

import pytest

from slurm_cluster import Cluster, slurm_cluster, why_no_cluster


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = why_no_cluster()
    if reason is not None:
        pytest.skip(f"no Slurm: {reason}")
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture
def cluster(running_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("SLURM_CONF", running_cluster.environment["SLURM_CONF"])
    yield running_cluster
    running_cluster.command("scancel", "--user=root", "--signal=KILL", check=False)
    running_cluster.command("scancel", "--user=root", check=False)
    running_cluster.wait_until_idle()
