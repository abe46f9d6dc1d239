"""etcd: the store as a process.  Ports, TLS, life; what it answers is in `services`, `maintenance`, and the modules beside them."""

import asyncio
import json
import logging
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from k8sfromscratch.components.etcd.auth import AuthServices
from k8sfromscratch.components.etcd.compactor import compactions
from k8sfromscratch.components.etcd.config import EtcdFlags
from k8sfromscratch.components.etcd.connection import ClientConnection
from k8sfromscratch.components.etcd.maintenance import MaintenanceServices
from k8sfromscratch.components.etcd.member import VERSION, Member
from k8sfromscratch.components.etcd.queues import QueueServices
from k8sfromscratch.components.etcd.services import KvServices
from k8sfromscratch.components.etcd.watch import WatchHub
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError, TlsFiles, server_context
from k8sfromscratch.storage.engine import QUOTA_BYTES, Engine
from k8sfromscratch.storage.wal import WalError

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 600.0
"""How often watches that asked for it are told that nothing happened, as etcd does."""


async def run(flags: EtcdFlags, env: Env) -> None:
    try:
        engine = await Engine.open(Path(flags.data_dir), env, quota_bytes=flags.quota_backend_bytes or QUOTA_BYTES)
        tls = _tls(flags)
    except (WalError, TlsError) as error:
        raise StartError(str(error)) from error
    member = Member(
        engine,
        env,
        name=flags.name,
        cluster_token=flags.initial_cluster_token,
        peer_urls=flags.initial_advertise_peer_urls,
        client_urls=flags.advertise_client_urls,
        client_cert_auth=flags.client_cert_auth,
        token_ttl_s=flags.auth_token_ttl,
    )
    kv = KvServices(member)
    auth = AuthServices(member, bcrypt_cost=flags.bcrypt_cost)
    maintenance = MaintenanceServices(member, Path(flags.data_dir))
    unary = {**kv.unary(), **maintenance.unary(), **auth.unary()}
    streams = {**kv.streams(), **maintenance.streams(), **QueueServices(member).streams()}
    pages = Pages(engine, member, kv.hub)
    connections: set[ClientConnection] = set()
    loop = asyncio.get_running_loop()
    listeners, page_servers = [], []
    try:
        for url in map(urlsplit, flags.listen_client_urls):
            listeners.append(
                await loop.create_server(
                    lambda: ClientConnection(unary, streams, pages.get, connections),
                    url.hostname,
                    url.port or 0,
                    ssl=tls if url.scheme == "https" else None,
                    backlog=1024,
                )
            )
            log.info("serving clients on %s", url.geturl())
        for url in map(urlsplit, flags.listen_metrics_urls):
            page_servers.append(await serve(pages.handle, host=url.hostname or "", port=url.port or 0))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(engine.run(), name="engine")
            tasks.create_task(_progress(kv.hub), name="progress")
            if flags.retention:
                tasks.create_task(compactions(engine, env, flags.auto_compaction_mode, flags.retention), name="compactions")
    finally:
        for listener in listeners:
            listener.close()
        for connection in list(connections):
            connection.go_away()
        for server in page_servers:
            await server.close(0.5)
        await member.close()
        auth.close()
        await engine.close()


async def _progress(hub: WatchHub) -> None:
    while True:
        await asyncio.sleep(PROGRESS_EVERY_S)
        hub.notify_progress()


def _tls(flags: EtcdFlags) -> ssl.SSLContext | None:
    if not flags.cert_file:
        return None
    files = TlsFiles(flags.cert_file, flags.key_file)
    ca = flags.trusted_ca_file if flags.client_cert_auth else ""
    return server_context(files, client_ca_file=ca, require_client=flags.client_cert_auth, alpn=("h2", "http/1.1"))


class Pages:
    """/health, /version and /metrics."""

    def __init__(self, engine: Engine, member: Member, hub: WatchHub) -> None:
        self._engine, self._alarms = engine, member.alarms
        self.registry = CollectorRegistry()
        gauges = {
            "etcd_server_has_leader": ("Whether a leader exists", lambda: 1),
            "etcd_server_is_leader": ("Whether this member leads", lambda: 1),
            "etcd_server_proposals_applied_total": ("Proposals applied", lambda: engine.applied),
            "etcd_disk_wal_fsyncs_total": ("Syncs of the write-ahead log", lambda: engine.fsyncs),
            "etcd_mvcc_db_total_size_in_bytes": ("Size of the database", lambda: engine.size_bytes()[0]),
            "etcd_mvcc_db_total_size_in_use_in_bytes": ("Size of what is in use of it", lambda: engine.size_bytes()[1]),
            "etcd_debugging_mvcc_current_revision": ("The store's revision", lambda: engine.store.revision),
            "etcd_debugging_mvcc_compact_revision": ("The compacted revision", lambda: engine.store.compact_revision),
            "etcd_debugging_mvcc_watcher_total": ("Watches", lambda: len(hub)),
        }
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=self.registry).set_function(read)

    def get(self, path: str) -> tuple[int, str, bytes]:
        if path == "/health":
            raised = [name for name, there in (("NOSPACE", self._alarms.no_space or self._engine.over_quota), ("CORRUPT", self._alarms.corrupt)) if there]
            body = {"health": "false", "reason": f"ALARM {raised[0]}"} if raised else {"health": "true", "reason": ""}
            return 503 if raised else 200, "application/json", json.dumps(body).encode()
        if path == "/version":
            return 200, "application/json", json.dumps({"etcdserver": VERSION, "etcdcluster": VERSION.rsplit(".", 1)[0] + ".0"}).encode()
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self.registry)
        return 404, "text/plain", b"404 page not found\n"

    async def handle(self, request: Request) -> Response:
        status, content_type, body = self.get(request.path)
        return Response(status, body, content_type)
