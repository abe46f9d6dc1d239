"""How the controllers are set, apart from how the process is started: what `run_controllers` takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from k8sfromscratch.components.controller_manager.signer import Signer
from k8sfromscratch.core.reconcile.node_ipam import Network, Pool
from k8sfromscratch.core.reconcile.node_lifecycle import Monitoring

ALL = "*"


@dataclass(frozen=True)
class Options:
    controllers: Sequence[str] = (ALL,)
    """Upstream's `--controllers`: `*` is all that are on by default, `name` turns one on, `-name` off."""
    workers: Mapping[str, int] = field(default_factory=dict)
    """Controller name -> how many keys it may work on at once; 5 where not given."""
    monitoring: Monitoring = field(default_factory=Monitoring)
    pools: Sequence[Pool] = ()
    """Pod ranges to cut for the nodes (one a family); none: nodes get theirs elsewhere."""
    service_ranges: Sequence[Network] = ()
    root_ca: str = ""
    """PEM bundle that namespaces get as `kube-root-ca.crt`; empty: none is published."""
    signer: Signer | None = None
    """The authority that signs approved signing requests; without one they stay unsigned."""
    terminated_pod_threshold: int = 12500
    namespace_settle_s: float = 2.0
    """Before an empty namespace is let go: longer than another apiserver's view of namespaces lags."""
    gc_discovery_period_s: float = 30.0
    """How often the garbage collector looks for resources that have appeared (a CustomResourceDefinition is noticed at once)."""
