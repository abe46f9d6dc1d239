"""What the roles read of the cluster, for every inventory in this folder: the defaults of `ClusterSpec` with the lab's file and LAB_* on top."""

from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.record import LAB_DIR
from k8sfromscratch.lab.spec import load_spec

try:
    _spec = load_spec()
except SpecError as _error:
    raise SystemExit(str(_error)) from None

cluster_name = _spec.name
cluster_domain = _spec.cluster_domain
pod_cidr = str(_spec.pod_cidr)
service_cidr = str(_spec.service_cidr)
node_port_range = _spec.node_port_range
api_address = str(_spec.api_address)
api_service_address = str(_spec.api_service_address)
dns_address = str(_spec.dns_address)
pki_directory = str(LAB_DIR / "pki")
admin_kubeconfig = str(LAB_DIR / "admin.kubeconfig")
# Virtual machines may have to do without KVM, where everything takes ten times as long: so much more time for health checks, half of it for leases.
patience = 1 if _spec.provider == "nspawn" else 6
node_monitor_grace_period_s = 40.0 if _spec.provider == "nspawn" else 80.0
