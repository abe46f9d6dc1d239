"""A real apiserver on virtual time, with one client whose network is well and one whose network can be made to fail."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.faulty_transport import FaultyTransport
from k8sfromscratch.testing.virtual import run_virtual

KEY = pki.make_key()


@dataclass(frozen=True)
class World:
    env: Env
    client: Client
    network: FaultyTransport
    """What `distant`, and only it, goes through."""
    distant: Client


@pytest.fixture
def virtually() -> Callable[[Callable[[World], Awaitable[None]]], None]:
    def run(story: Callable[[World], Awaitable[None]]) -> None:
        async def main(env: Env) -> None:
            server = embedded(LocalStorage.memory(env), env, signing_key=KEY)
            await server.start()
            try:
                network = FaultyTransport(DirectTransport(server.handle, LOOPBACK))
                await story(World(env, Client(DirectTransport(server.handle, LOOPBACK)), network, Client(network)))
            finally:
                await server.stop()

        run_virtual(main)

    return run
