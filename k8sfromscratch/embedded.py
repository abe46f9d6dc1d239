"""A whole cluster in one process: apiserver, controllers, scheduler and simulated nodes on the store in memory or on disk.

    HTTPS ─► apiserver ◄─(direct calls)─ controllers, scheduler, simulated nodes
                 └─► LocalStorage (gone at the end) or DurableStorage (in the data directory)

For people who test operators: no root, no containers, ready in about a second.  The apiserver is up first; the rest is imported and started
behind it, so that readiness does not wait for it.
"""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import yaml

from k8sfromscratch.api.errors import ServiceUnavailable
from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.components.apiserver.server import ApiServer
from k8sfromscratch.core.authz.types import LOOPBACK, UserInfo
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response, Upgrade
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.tls import TlsFiles
from k8sfromscratch.storage.interface import Storage
from k8sfromscratch.storage.local import LocalStorage

log = logging.getLogger(__name__)

ADMIN = UserInfo("kubernetes-admin", ("system:masters", "system:authenticated"))
CLUSTER_NAME = "kfs"
SERVICE_RANGE_FIRST = "10.96.0.1"
CLOSE_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """`data_dir` gets the kubeconfig and the certificates; with `durable` the cluster's data too."""

    data_dir: Path
    token: str
    durable: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Running:
    server: str
    kubeconfig: Path
    client: Client
    """As a cluster administrator, without a network between."""


@asynccontextmanager
async def cluster(settings: Settings, env: Env) -> AsyncIterator[Running]:
    """The cluster, up as long as the block runs; entered when the apiserver is ready.  Raises OSError, and WalError or StorageError (in a group where the
    store failed while it ran)."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    keys = _Keys.ensure(settings.data_dir / "pki", settings.host, env)
    async with _storage(settings, env) as storage:
        door = _Door()
        listener = await serve(door.handle, host=settings.host, port=settings.port, tls=keys.server, client_ca_file=keys.ca_files.cert_file)
        apiserver = embedded(
            storage,
            env,
            signing_key=keys.service_accounts,
            tokens={settings.token: ADMIN},
            address=settings.host,
            port=listener.port,
            client_cas=pki.read_certificates(Path(keys.ca_files.cert_file)),
        )
        door.apiserver = apiserver
        try:
            address = f"https://{settings.host}:{listener.port}"
            kubeconfig = settings.data_dir / "admin.kubeconfig"
            pki.write(kubeconfig, _kubeconfig(address, keys.ca, settings.token).encode(), pki.KEY_MODE)
            await apiserver.start()
            running = Running(address, kubeconfig, Client(DirectTransport(apiserver.handle, ADMIN)))
            async with asyncio.TaskGroup() as tasks:
                workers = tasks.create_task(_workers(apiserver, env, keys, settings.nodes), name="workers")
                try:
                    yield running
                finally:
                    workers.cancel()
        finally:
            await apiserver.stop()
            await listener.close(CLOSE_GRACE_S)


class _Door:
    """The port is taken before the apiserver is made, which must know it."""

    def __init__(self) -> None:
        self.apiserver: ApiServer | None = None

    async def handle(self, request: Request) -> Response | Upgrade:
        if self.apiserver is None:
            raise ServiceUnavailable("the apiserver is starting", retry_after_s=1)
        return await self.apiserver.handle(request)


async def _workers(apiserver: ApiServer, env: Env, keys: "_Keys", nodes: int) -> None:
    """Everything that is a client of the apiserver.  Imported here: numpy and the controllers take longer to load than the apiserver to start."""
    from k8sfromscratch.components.controller_manager.app import run_controllers
    from k8sfromscratch.components.controller_manager.options import Options
    from k8sfromscratch.components.controller_manager.signer import Signer
    from k8sfromscratch.components.kubelet.simulated import run_simulated_nodes
    from k8sfromscratch.components.scheduler.app import run_scheduler

    def client(agent: str) -> Client:
        return Client(DirectTransport(apiserver.handle, LOOPBACK), user_agent=agent)

    options = Options(root_ca=keys.ca.decode(), signer=Signer(keys.ca_files.cert_file, keys.ca_files.key_file))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_simulated_nodes(client("kubelet"), env, count=nodes), name="nodes")
        tasks.create_task(run_controllers(client("kube-controller-manager"), env, options), name="controllers")
        tasks.create_task(run_scheduler(client("kube-scheduler"), env), name="scheduler")


@asynccontextmanager
async def _storage(settings: Settings, env: Env) -> AsyncIterator[Storage]:
    if not settings.durable:
        storage = LocalStorage.memory(env)
        try:
            yield storage
        finally:
            await storage.close()
        return
    from k8sfromscratch.storage.durable import DurableStorage

    durable = await DurableStorage.open(settings.data_dir / "etcd", env)
    try:
        async with asyncio.TaskGroup() as tasks:  # a store that fails ends the block
            committing = tasks.create_task(durable.run(), name="store")
            try:
                yield durable
            finally:
                committing.cancel()
    finally:
        await durable.close()


@dataclass(frozen=True, slots=True)
class _Keys:
    ca: bytes
    ca_files: TlsFiles
    server: TlsFiles
    service_accounts: pki.PrivateKey

    @classmethod
    def ensure(cls, folder: Path, host: str, env: Env) -> "_Keys":
        """Makes what is missing; a data directory used again keeps its CA, so that kubeconfigs stay good."""
        folder.mkdir(parents=True, exist_ok=True)
        now = env.clock.now()
        ca_spec = pki.Spec("kfs-ca", usages=(), ca=True, validity=timedelta(days=3650))
        ca_key, ca = pki.read_key(folder / "ca.key"), pki.read_certificate(folder / "ca.crt")
        if ca_key is None or ca is None or pki.needs_renewal(ca, now, ca_spec, key=ca_key) is not None:
            ca_key = pki.make_key()
            ca = pki.issue(ca_spec, ca_key, None, now)
            pki.write(folder / "ca.key", pki.key_pem(ca_key), pki.KEY_MODE)
            pki.write(folder / "ca.crt", pki.certificate_pem(ca), pki.CERT_MODE)
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
        addresses = tuple(dict.fromkeys((host if host[0].isdigit() else "127.0.0.1", "127.0.0.1", SERVICE_RANGE_FIRST)))
        key = pki.make_key()
        certificate = pki.issue(pki.Spec("kube-apiserver", (), names, addresses, ("server",)), key, pki.Authority(ca, ca_key), now)
        files = TlsFiles(str(folder / "apiserver.crt"), str(folder / "apiserver.key"))
        pki.write(Path(files.cert_file), pki.certificate_pem(certificate), pki.CERT_MODE)
        pki.write(Path(files.key_file), pki.key_pem(key), pki.KEY_MODE)
        signer = pki.read_key(folder / "sa.key")
        if signer is None:
            signer = pki.make_key()
            pki.write(folder / "sa.key", pki.key_pem(signer), pki.KEY_MODE)
        return cls(pki.certificate_pem(ca), TlsFiles(str(folder / "ca.crt"), str(folder / "ca.key")), files, signer)


def _kubeconfig(server: str, ca: bytes, token: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CLUSTER_NAME, "cluster": {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()}}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": CLUSTER_NAME, "context": {"cluster": CLUSTER_NAME, "user": "admin"}}],
            "current-context": CLUSTER_NAME,
        },
        sort_keys=False,
    )
