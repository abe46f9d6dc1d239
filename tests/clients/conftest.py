"""What people bring along: client libraries, an operator, helm.  Each is pointed at a cluster of `kfs up`, as they would do it."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from k8sfromscratch.testing.kfs_process import Up, kfs_up


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One for all tests here: each works in a namespace of its own."""
    with kfs_up(tmp_path_factory.mktemp("home"), "--nodes", "2") as up:
        yield up


@pytest.fixture
def namespace(cluster: Up, needs: Callable[..., None]) -> Iterator[str]:
    needs("kubectl")
    name = f"clients-{uuid.uuid4().hex[:8]}"
    cluster.run("kubectl", "create", "namespace", name)
    yield name
    cluster.run("kubectl", "delete", "namespace", name, "--wait=false")
