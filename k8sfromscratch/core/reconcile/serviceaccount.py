"""What every namespace has from its birth: the ServiceAccount `default`, and the CA bundle that pods trust the apiserver by."""

from k8sfromscratch.api.registry import CONFIG_MAPS, SERVICE_ACCOUNTS
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import NOTHING, Create, Object, Plan, Update

DEFAULT_ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
ROOT_CA_KEY = "ca.crt"
_ALREADY_THERE = frozenset({"AlreadyExists"})
_DESCRIPTION = {
    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
}


def _closed(namespace: Object | None) -> bool:
    return namespace is None or objects.deleting(namespace) or objects.status(namespace).get("phase", "Active") != "Active"


def plan_default_account(namespace: Object | None, account: Object | None) -> Plan:
    if namespace is None or _closed(namespace) or account is not None:
        return NOTHING
    metadata = {"name": DEFAULT_ACCOUNT, "namespace": objects.name(namespace)}
    return Plan((Create(SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}, ignore=_ALREADY_THERE),))


def plan_root_ca(namespace: Object | None, published: Object | None, bundle: str) -> Plan:
    """`bundle` is PEM.  The ConfigMap is ours: whoever edits it is corrected."""
    if namespace is None or _closed(namespace):
        return NOTHING
    data = {ROOT_CA_KEY: bundle}
    if published is None:
        metadata = {"name": ROOT_CA, "namespace": objects.name(namespace), "annotations": _DESCRIPTION}
        return Plan((Create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, ignore=_ALREADY_THERE),))
    if published.get("data") == data and objects.annotations(published).items() >= _DESCRIPTION.items():
        return NOTHING
    changed = objects.replaced(published, data=data)
    changed["metadata"]["annotations"] = {**objects.annotations(published), **_DESCRIPTION}
    return Plan((Update(CONFIG_MAPS, changed),))
