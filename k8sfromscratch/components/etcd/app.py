"""etcd: the store as a process.  Ports, TLS, life; what it answers is in `services`, `cluster`, `maintenance`, and the modules beside them.

    who am I (`bootstrap`) ─► the engine on the data directory ─► peers are spoken to and listened to ─► a leader is known, this member's name and
    client URLs are told to all ─► clients are served

So a client never speaks to a member that has not caught up since it started; the metrics port answers from the beginning.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from k8sfromscratch.components.etcd import bootstrap, corruption
from k8sfromscratch.components.etcd.auth import AuthServices
from k8sfromscratch.components.etcd.certificates import Certificates, ClientTls
from k8sfromscratch.components.etcd.cluster import ClusterServices
from k8sfromscratch.components.etcd.compactor import compactions
from k8sfromscratch.components.etcd.config import EtcdFlags
from k8sfromscratch.components.etcd.connection import ClientConnection
from k8sfromscratch.components.etcd.gate import Gate
from k8sfromscratch.components.etcd.leasing import Leasing
from k8sfromscratch.components.etcd.maintenance import MaintenanceServices
from k8sfromscratch.components.etcd.member import Member
from k8sfromscratch.components.etcd.metrics import EtcdCollector, registry_of
from k8sfromscratch.components.etcd.pages import Pages
from k8sfromscratch.components.etcd.peer_service import MESSAGE_MAX_BYTES, PeerService
from k8sfromscratch.components.etcd.peers import Peers
from k8sfromscratch.components.etcd.queues import QueueServices
from k8sfromscratch.components.etcd.services import KvServices
from k8sfromscratch.components.etcd.watch import WatchHub
from k8sfromscratch.process import memory
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.errors import Fatal
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError
from k8sfromscratch.storage.engine import QUOTA_BYTES, Engine
from k8sfromscratch.storage.group import Group, MemberInfo, MemberRemoved
from k8sfromscratch.storage.interface import DiskFailed, StorageError, Unavailable
from k8sfromscratch.storage.lessor import CHECKPOINT_EVERY_S
from k8sfromscratch.storage.opening import identity
from k8sfromscratch.storage.wal import WalError

log = logging.getLogger(__name__)

ENVELOPE_BYTES = 512 * 1024
"""Around the longest request: etcd's allowance."""
PUBLISH_AGAIN_S = 0.1


async def run(flags: EtcdFlags, env: Env) -> None:
    memory.settle()
    try:
        tls = Certificates(flags)
        who = await _who(flags, tls.peer_client)
        peers = Peers(who.member, who.cluster, flags.initial_advertise_peer_urls, tls.peer_client, env.clock)
        group = Group(
            member_id=who.member,
            cluster_id=who.cluster,
            first_members=who.first_members,
            transport=peers,
            heartbeat_s=flags.heartbeat_interval / 1000,
            election_s=flags.election_timeout / 1000,
            catch_up_entries=flags.snapshot_count,
            pre_vote=flags.pre_vote,
            lease_checkpoint_s=CHECKPOINT_EVERY_S if flags.experimental_enable_lease_checkpoint else 0.0,
            alone_from_now=flags.force_new_cluster,
        )
        engine = await Engine.open(Path(flags.data_dir), env, quota_bytes=flags.quota_backend_bytes or QUOTA_BYTES, group=group)
    except (WalError, TlsError, StorageError) as error:
        raise StartError(str(error)) from error
    memory.settle()  # again: the index of all keys has come
    peers.attach(engine)
    for other in who.others:
        peers.heard_of(other.id, other.peer_urls)
    server = _Server(flags, env, tls, engine, peers, group)
    try:
        await server.run()
    except* MemberRemoved as removed:
        log.error("%s: the data directory %s is of no use any more", removed.exceptions[0], flags.data_dir)
    except* DiskFailed as failed:
        raise Fatal(f"{_first(failed)}; what was acknowledged is in {flags.data_dir}, and there after the next start") from failed
    finally:
        await server.close()
        await engine.close()


def _first(group: BaseExceptionGroup[DiskFailed]) -> BaseException:
    """Of the failures, which are one that several tasks have met."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _who(flags: EtcdFlags, tls: ClientTls) -> bootstrap.Identity:
    """Raises StartError, StorageError."""
    known = await asyncio.to_thread(identity, Path(flags.data_dir))
    if known is None and flags.force_new_cluster:  # each of three would begin a cluster of its own, or one would where the directory is misspelt
        raise StartError(f"--force-new-cluster goes on with what a member has, and {flags.data_dir} has nothing of one")
    if known is None:
        return await bootstrap.begin(flags, tls)
    log.info("member %x of cluster %x starts again; the flags --initial-… mean nothing to it", known.member_id, known.cluster_id)
    return bootstrap.Identity(known.member_id, known.cluster_id)


@dataclass(frozen=True)
class _Listening:
    urls: Sequence[str]
    make: Callable[[], ClientConnection]
    tls: ssl.SSLContext | None
    whom: str


class _Server:
    """A member that is open: its services, ports and tasks."""

    def __init__(self, flags: EtcdFlags, env: Env, tls: Certificates, engine: Engine, peers: Peers, group: Group) -> None:
        self._flags, self._env, self._engine, self._peers = flags, env, engine, peers
        self._member = member = Member(
            engine,
            env,
            member_id=group.member_id,
            cluster_id=group.cluster_id,
            client_cert_auth=flags.client_cert_auth,
            token_ttl_s=flags.auth_token_ttl,
            request_max_bytes=flags.max_request_bytes,
            txn_ops_max=flags.max_txn_ops,
        )
        kv = KvServices(member)
        self._hub = kv.hub
        self._auth = AuthServices(member, bcrypt_cost=flags.bcrypt_cost)
        maintenance = MaintenanceServices(member, Path(flags.data_dir))
        leasing = Leasing(member, peers, election_s=group.election_s, request_timeout_s=group.request_timeout_s)
        cluster = ClusterServices(
            member,
            peers,
            token=flags.initial_cluster_token,
            strict=flags.strict_reconfig_check,
            learners_max=flags.experimental_max_learners,
            election_s=group.election_s,
            request_timeout_s=group.request_timeout_s,
        )
        service = PeerService(member, peers, leasing, cluster.promote, flags.peer_cert_allowed_cn)
        self._gate = Gate(member, group.election_s)
        unary = self._gate.unary({**kv.unary(), **leasing.unary(), **maintenance.unary(), **cluster.unary(), **self._auth.unary()})
        streams = self._gate.streams({**kv.streams(), **leasing.streams(), **maintenance.streams(), **QueueServices(member, leasing).streams()})
        self._pages = Pages(member, registry_of(EtcdCollector(member, kv.hub, peers, service, cluster)))
        self._connections: set[ClientConnection] = set()
        request_max = flags.max_request_bytes + ENVELOPE_BYTES
        peer_unary, peer_streams = service.unary(), service.streams()
        self._clients = _Listening(
            flags.listen_client_urls,
            lambda: ClientConnection(unary, streams, self._pages.get, self._connections, request_max),
            tls.client_server,
            "clients",
        )
        self._members = _Listening(
            flags.listen_peer_urls,
            lambda: ClientConnection(peer_unary, peer_streams, self._pages.peers_get, self._connections, MESSAGE_MAX_BYTES),
            tls.peer_server,
            "peers",
        )

    async def run(self) -> None:
        """Until cancelled, or something fails that the member cannot go on without."""
        flags = self._flags
        async with _listening(self._members), self._metrics_ports(), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._engine.run(), name="engine")
            tasks.create_task(self._peers.run(), name="peers")
            await self._publish()
            if flags.experimental_initial_corrupt_check:
                await corruption.check_at_start(self._member, self._peers)
            tasks.create_task(_progress(self._hub, flags.experimental_watch_progress_notify_interval), name="progress")
            if flags.retention:
                tasks.create_task(compactions(self._engine, self._env, flags.auto_compaction_mode, flags.retention), name="compactions")
            if flags.experimental_corrupt_check_time:
                checks = corruption.check_often(self._member, self._peers, flags.experimental_corrupt_check_time)
                tasks.create_task(checks, name="corruption checks")
            async with _listening(self._clients):
                await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        self._gate.close()
        for connection in list(self._connections):
            connection.go_away()
        await self._member.close()
        self._auth.close()

    async def _publish(self) -> None:
        """Tells all how this member is called and where its clients go; returns when that is applied here, and so everything before it."""
        own = self._member.id
        while True:
            try:
                await self._engine.read_barrier()
                known = self._engine.members.get(own)
                if known is not None:
                    wanted = MemberInfo(own, self._flags.name, known.peer_urls, tuple(self._flags.advertise_client_urls), known.is_learner)
                    if wanted == known:
                        break
                    await self._engine.update_member(wanted)
                    break
            except Unavailable as error:
                log.warning("this member's name is not told to the others yet: %s", error)
            await asyncio.sleep(PUBLISH_AGAIN_S)
        log.info("published local member %x to cluster %x", own, self._member.cluster_id)

    @contextlib.asynccontextmanager
    async def _metrics_ports(self) -> AsyncIterator[None]:
        servers = []
        try:
            for url in map(urlsplit, self._flags.listen_metrics_urls):
                servers.append(await serve(self._pages.handle, host=url.hostname or "", port=url.port or 0))
            yield
        finally:
            for server in servers:
                await server.close(0.5)


@contextlib.asynccontextmanager
async def _listening(what: _Listening) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    listeners: list[asyncio.AbstractServer] = []
    try:
        for url in map(urlsplit, what.urls):
            tls = what.tls if url.scheme == "https" else None
            listeners.append(await loop.create_server(what.make, url.hostname, url.port or 0, ssl=tls, backlog=1024))
            log.info("serving %s on %s", what.whom, url.geturl())
        yield
    finally:
        for listener in listeners:
            listener.close()


async def _progress(hub: WatchHub, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        hub.notify_progress()
