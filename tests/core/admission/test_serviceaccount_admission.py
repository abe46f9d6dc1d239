"""ServiceAccount: the default account, the token volume, pull secrets; and what mirror pods may not have."""

import copy
from typing import Any

import pytest

from k8sfromscratch.api.errors import Forbidden
from k8sfromscratch.api.registry import PODS
from k8sfromscratch.core.admission.serviceaccount import MOUNT_PATH, ServiceAccount
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.testing.views import MemoryView

Object = dict[str, Any]
ACCOUNT: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "a"}}


def pod(**spec: Any) -> Object:
    containers = [{"name": "c", "image": "i"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a"}, "spec": {"containers": containers, **spec}}


def admit(obj: Object, *accounts: Object) -> Object:
    request = AdmissionRequest("CREATE", PODS, "", "a", "p", UserInfo("u"), copy.deepcopy(obj), None)
    plugin, view = ServiceAccount(lambda: "abcde"), MemoryView(*(accounts or (ACCOUNT,)))
    plugin.mutate(request, view)
    plugin.validate(request, view)
    assert request.obj is not None
    return request.obj["spec"]


def mounts(container: Object) -> list[tuple[str, str]]:
    return [(m["name"], m["mountPath"]) for m in container.get("volumeMounts", [])]


def test_a_pod_gets_account_and_token() -> None:
    spec = admit(pod(initContainers=[{"name": "i", "image": "i"}]))
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert mounts(spec["containers"][0]) == mounts(spec["initContainers"][0]) == [("kube-api-access-abcde", MOUNT_PATH)]
    assert spec["containers"][0]["volumeMounts"][0]["readOnly"] is True
    assert spec["volumes"] == [
        {
            "name": "kube-api-access-abcde",
            "projected": {
                "defaultMode": 420,
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
                ],
            },
        }
    ]


def test_admission_twice_is_as_once() -> None:
    once = admit(pod())
    assert admit({**pod(), "spec": once}) == once


def test_what_is_mounted_there_already_stays() -> None:
    own = {"name": "own", "mountPath": MOUNT_PATH}
    spec = admit(pod(containers=[{"name": "c", "image": "i", "volumeMounts": [own]}], volumes=[{"name": "own", "emptyDir": {}}]))
    assert mounts(spec["containers"][0]) == [("own", MOUNT_PATH)] and [v["name"] for v in spec["volumes"]] == ["own"]


@pytest.mark.parametrize(
    ("of_pod", "of_account", "mounted"), [(None, False, False), (True, False, True), (False, None, False), (False, True, False), (None, None, True)]
)
def test_who_decides_on_the_token(of_pod: bool | None, of_account: bool | None, mounted: bool) -> None:
    account = ACCOUNT if of_account is None else {**ACCOUNT, "automountServiceAccountToken": of_account}
    spec = admit(pod() if of_pod is None else pod(automountServiceAccountToken=of_pod), account)
    assert ("volumes" in spec) is mounted


def test_pull_secrets_come_from_the_account_unless_the_pod_has_some() -> None:
    account = {**ACCOUNT, "imagePullSecrets": [{"name": "registry"}]}
    assert admit(pod(), account)["imagePullSecrets"] == [{"name": "registry"}]
    assert admit(pod(imagePullSecrets=[{"name": "own"}]), account)["imagePullSecrets"] == [{"name": "own"}]


def test_the_account_must_exist() -> None:
    with pytest.raises(Forbidden, match='error looking up service account a/bot: serviceaccount "bot" not found'):
        admit(pod(serviceAccountName="bot"))


def test_enforced_mountable_secrets_are_refused_and_not_ignored() -> None:
    account = {**ACCOUNT, "metadata": {**ACCOUNT["metadata"], "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}}
    with pytest.raises(Forbidden, match="not supported"):
        admit(pod(), account)


def mirror(**spec: Any) -> Object:
    obj = pod(**spec)
    obj["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    return obj


def test_mirror_pods() -> None:
    assert admit(mirror()) == mirror()["spec"]
    with pytest.raises(Forbidden, match="may not reference service accounts"):
        admit(mirror(serviceAccountName="default"))
    with pytest.raises(Forbidden, match="may not reference secrets"):
        admit(mirror(volumes=[{"name": "v", "secret": {"secretName": "s"}}]))
    with pytest.raises(Forbidden, match="ServiceAccountToken volume projections"):
        admit(mirror(volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]))


def test_pods_of_one_template_stay_alike() -> None:
    suffixes = iter(("aaaaa", "bbbbb"))
    plugin, view, specs = ServiceAccount(lambda: next(suffixes)), MemoryView(ACCOUNT), []
    for _ in range(2):
        request = AdmissionRequest("CREATE", PODS, "", "a", "p", UserInfo("u"), pod(), None)
        plugin.mutate(request, view)
        assert request.obj is not None
        specs.append(request.obj["spec"])
    assert specs[0] == specs[1] and mounts(specs[0]["containers"][0]) == [("kube-api-access-aaaaa", MOUNT_PATH)]
