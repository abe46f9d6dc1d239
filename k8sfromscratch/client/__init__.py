"""The only client library: every component speaks to the apiserver through it.

Transport (HTTPS, or a direct call) ─► Client (verbs) ─► Informer (list and watch into a Store) ─► WorkQueue ─► a reconciler
"""

from k8sfromscratch.client.direct import DirectTransport
from k8sfromscratch.client.events import EventRecorder
from k8sfromscratch.client.https import HttpsTransport
from k8sfromscratch.client.informer import Informer, Informers
from k8sfromscratch.client.kubeconfig import KubeconfigError, client_from_kubeconfig, client_in_cluster, load_kubeconfig
from k8sfromscratch.client.leader_election import LeaderElector, LostLease
from k8sfromscratch.client.rest import Client, WatchEvent
from k8sfromscratch.client.retry import retry_on_conflict
from k8sfromscratch.client.store import Store, object_key, split_key
from k8sfromscratch.client.transport import NotConnected, Reply, StreamReply, Transport, TransportError
from k8sfromscratch.client.workqueue import ShutDown, WorkQueue

__all__ = [
    "Client",
    "DirectTransport",
    "EventRecorder",
    "HttpsTransport",
    "Informer",
    "Informers",
    "KubeconfigError",
    "LeaderElector",
    "LostLease",
    "NotConnected",
    "Reply",
    "ShutDown",
    "Store",
    "StreamReply",
    "Transport",
    "TransportError",
    "WatchEvent",
    "WorkQueue",
    "client_from_kubeconfig",
    "client_in_cluster",
    "load_kubeconfig",
    "object_key",
    "retry_on_conflict",
    "split_key",
]
