"""What Prometheus is told, with upstream's names.  Everything is read when it is asked for: nothing is counted twice, and nothing on the way of a request."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from k8sfromscratch.components.etcd.cluster import ClusterServices
from k8sfromscratch.components.etcd.member import VERSION, Member
from k8sfromscratch.components.etcd.peer_service import PeerService
from k8sfromscratch.components.etcd.peers import Peers
from k8sfromscratch.components.etcd.watch import WatchHub


class EtcdCollector(Collector):
    def __init__(self, member: Member, hub: WatchHub, peers: Peers, service: PeerService, cluster: ClusterServices) -> None:
        self._member, self._engine, self._hub = member, member.engine, hub
        self._peers, self._service, self._cluster = peers, service, cluster
        self._leader_changes = 0
        self._engine.on_lead_changed(self._lead_changed)

    def collect(self) -> Iterable[Metric]:
        yield from self._server()
        yield from self._network()

    def _lead_changed(self, leader: int) -> None:
        self._leader_changes += bool(leader)

    def _server(self) -> Iterator[Metric]:
        engine, store = self._engine, self._engine.store
        gauges: dict[str, tuple[str, float]] = {
            "etcd_server_has_leader": ("Whether a leader exists", bool(engine.leader)),
            "etcd_server_is_leader": ("Whether this member leads", engine.leader == self._member.id),
            "etcd_server_is_learner": ("Whether this member is a learner", self._member.is_learner),
            "etcd_server_proposals_committed_total": ("Proposals that a quorum has", engine.committed),
            "etcd_server_proposals_applied_total": ("Proposals applied", engine.applied),
            "etcd_server_proposals_pending": ("Proposals that wait to be committed", engine.pending),
            "etcd_server_quota_backend_bytes": ("Size of the database at which writes are refused", engine.quota_bytes),
            "etcd_mvcc_db_total_size_in_bytes": ("Size of the database", engine.size_bytes()[0]),
            "etcd_mvcc_db_total_size_in_use_in_bytes": ("Size of what is in use of it", engine.size_bytes()[1]),
            "etcd_debugging_mvcc_current_revision": ("The store's revision", store.revision),
            "etcd_debugging_mvcc_compact_revision": ("The compacted revision", store.compact_revision),
            "etcd_debugging_mvcc_watcher_total": ("Watches", len(self._hub)),
        }
        for name, (meaning, value) in gauges.items():
            yield GaugeMetricFamily(name, meaning, value=float(value))
        counters: dict[str, tuple[str, float]] = {
            "etcd_server_leader_changes_seen": ("Leaders that this member has seen come", self._leader_changes),
            "etcd_server_proposals_failed": ("Proposals that failed", engine.failed),
            "etcd_server_heartbeat_send_failures": ("Messages, heartbeats among them, that could not be sent", sum(peer.dropped for peer in self._peers.all())),
            "etcd_server_learner_promote_successes": ("Learners that were promoted here", self._cluster.promoted),
            "etcd_disk_wal_fsyncs": ("Syncs of the write-ahead log", engine.fsyncs),
        }
        for name, (meaning, value) in counters.items():
            yield CounterMetricFamily(name, meaning, value=float(value))
        for name, label, text in (
            ("etcd_server_id", "server_id", f"{self._member.id:x}"),
            ("etcd_server_version", "server_version", VERSION),
            ("etcd_cluster_version", "cluster_version", VERSION.rsplit(".", 1)[0]),
        ):
            family = GaugeMetricFamily(name, f"1 under the label {label}", labels=[label])
            family.add_metric([text], 1.0)
            yield family

    def _network(self) -> Iterator[Metric]:
        peers = self._peers.all()
        received = CounterMetricFamily("etcd_network_peer_received_bytes", "Bytes received from a member", labels=["From"])
        for member, size in self._service.received_bytes.items():
            received.add_metric([f"{member:x}"], size)
        yield received
        own = f"{self._member.id:x}"
        active = GaugeMetricFamily("etcd_network_active_peers", "Members that are connected", labels=["Local", "Remote"])
        lost = CounterMetricFamily("etcd_network_disconnected_peers", "Connections that were lost", labels=["Local", "Remote"])
        sent = CounterMetricFamily("etcd_network_peer_sent_bytes", "Bytes sent to a member", labels=["To"])
        failed = CounterMetricFamily("etcd_network_peer_sent_failures", "Messages that could not be sent", labels=["To"])
        trip = GaugeMetricFamily("etcd_network_peer_last_round_trip_seconds", "How long the last probe took", labels=["To"])
        for peer in peers:
            to = f"{peer.id:x}"
            active.add_metric([own, to], float(peer.active_since_s is not None))
            lost.add_metric([own, to], peer.disconnected)
            sent.add_metric([to], peer.sent_bytes)
            failed.add_metric([to], peer.dropped)
            trip.add_metric([to], peer.round_trip_s)
        yield from (active, lost, sent, failed, trip)
        yield CounterMetricFamily("etcd_network_snapshot_send_success", "Snapshots sent", value=self._peers.snapshots_sent)
        yield CounterMetricFamily("etcd_network_snapshot_send_failures", "Snapshots that could not be sent", value=self._peers.snapshots_failed)


def registry_of(collector: EtcdCollector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry
