"""A containerd of this folder's own, shared by its tests."""

from collections.abc import Iterator

import pytest

from k8sfromscratch.testing.private_containerd import PROGRAMS, PrivateContainerd


@pytest.fixture(scope="session")
def containerd(needs) -> Iterator[PrivateContainerd]:
    needs(*PROGRAMS, root=True)
    daemon = PrivateContainerd(subnet="10.213.77.0/24")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
