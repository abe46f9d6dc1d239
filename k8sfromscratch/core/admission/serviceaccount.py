"""ServiceAccount: every pod runs as one, and finds its token where programs look for it.

A new pod without a service account gets `default`; the account must exist.  Unless pod or account say no, a projected volume is
mounted into every container that has nothing there yet:

    /var/run/secrets/kubernetes.io/serviceaccount/   token      short-lived, renewed by the kubelet
                                                     ca.crt     from the config map kube-root-ca.crt
                                                     namespace

Source: plugin/pkg/admission/serviceaccount.  The deprecated annotation enforce-mountable-secrets is refused where it is "true".
"""

from collections.abc import Callable

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import PODS, SERVICE_ACCOUNTS
from k8sfromscratch.core.admission.types import AdmissionRequest, Object, View
from k8sfromscratch.core.authz.node_graph import MIRROR_ANNOTATION, pod_references

DEFAULT_ACCOUNT = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_EXPIRATION_S = 3607
"""An hour, and recognizable: see the extension of such tokens in the apiserver's TokenRequest."""
ENFORCE_ANNOTATION = "kubernetes.io/enforce-mountable-secrets"

_FILE_MODE = 0o644


class ServiceAccount:
    name = "ServiceAccount"

    def __init__(self, random_suffix: Callable[[], str]) -> None:
        """`random_suffix`: five characters that make the volume's name unlike any that a user chose.  They are drawn once and not for each pod,
        so that pods of one template stay alike: what was found out about the first (is it valid, what are its fields) holds for all."""
        self._random_suffix = random_suffix
        self._volume = ""

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        pod = request.obj
        if request.resource != PODS or request.subresource or request.operation != "CREATE" or pod is None:
            return
        if _is_mirror(pod):
            return
        spec = pod["spec"]
        if not spec.get("serviceAccountName"):
            spec["serviceAccountName"] = spec.get("serviceAccount") or DEFAULT_ACCOUNT
        spec["serviceAccount"] = spec["serviceAccountName"]
        account = _account(request, view)
        if _wants_token(pod, account):
            self._mount(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]

    def validate(self, request: AdmissionRequest, view: View) -> None:
        pod = request.obj
        if request.resource != PODS or request.subresource or request.operation != "CREATE" or pod is None:
            return
        if not _is_mirror(pod):
            account = _account(request, view)
            if (account["metadata"].get("annotations") or {}).get(ENFORCE_ANNOTATION) == "true":
                raise _forbidden(request, f'the annotation {ENFORCE_ANNOTATION}="true" of its service account is deprecated and not supported')
            return
        if pod["spec"].get("serviceAccountName"):
            raise _forbidden(request, "a mirror pod may not reference service accounts")
        bare = {**pod, "metadata": {**pod["metadata"], "annotations": {}}}
        if any(plural == "secrets" for plural, _, _ in pod_references(bare)):
            raise _forbidden(request, "a mirror pod may not reference secrets")
        if any("serviceAccountToken" in source for source in _projected_sources(pod)):
            raise _forbidden(request, "a mirror pod may not use ServiceAccountToken volume projections")

    def _mount(self, spec: Object) -> None:
        volumes = spec.get("volumes") or []
        present = next((name for volume in volumes if (name := str(volume.get("name") or "")).startswith(VOLUME_PREFIX)), None)
        self._volume = self._volume or VOLUME_PREFIX + self._random_suffix()
        name = present or self._volume
        mounted = False
        for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
            mounts = container.get("volumeMounts") or []
            if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
                continue
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
            mounted = True
        if mounted and present is None:
            spec["volumes"] = [*volumes, token_volume(name)]


def token_volume(name: str) -> Object:
    return {
        "name": name,
        "projected": {
            "defaultMode": _FILE_MODE,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_EXPIRATION_S, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            ],
        },
    }


def _account(request: AdmissionRequest, view: View) -> Object:
    """Raises Forbidden, as upstream: the kubelet could not start the pod anyway, and controllers try again."""
    assert request.obj is not None
    name = request.obj["spec"].get("serviceAccountName") or DEFAULT_ACCOUNT
    account = view.get(SERVICE_ACCOUNTS, name, request.namespace)
    if account is None:
        raise _forbidden(request, f'error looking up service account {request.namespace}/{name}: serviceaccount "{name}" not found')
    return account


def _wants_token(pod: Object, account: Object) -> bool:
    """The pod's word counts before the account's; silence means yes."""
    for chosen in (pod["spec"].get("automountServiceAccountToken"), account.get("automountServiceAccountToken")):
        if chosen is not None:
            return bool(chosen)
    return True


def _projected_sources(pod: Object) -> list[Object]:
    return [source for volume in pod["spec"].get("volumes") or () for source in (volume.get("projected") or {}).get("sources") or ()]


def _is_mirror(pod: Object) -> bool:
    return MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {})


def _forbidden(request: AdmissionRequest, why: str) -> errors.Forbidden:
    name = request.name or (request.obj or {}).get("metadata", {}).get("name", "")
    return errors.forbidden(PODS.plural, name, "", why)
