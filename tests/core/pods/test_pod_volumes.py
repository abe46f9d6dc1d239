import base64

import pytest

from k8sfromscratch.core.pods.environment import ConfigError, Reference
from k8sfromscratch.core.pods.volumes import File, TokenRequest, VolumeSources, token_requests, volume_files, volume_references, volume_type
from k8sfromscratch.testing.pod_machine import make_pod

CONFIG = {"data": {"a": "1", "b": "2"}, "binaryData": {"c": base64.b64encode(b"\x00").decode()}}
SECRET = {"data": {"k": base64.b64encode(b"s").decode()}}
SOURCES = VolumeSources({"cfg": CONFIG}, {"sec": SECRET}, {TokenRequest("", 3607): "TOKEN"})


def test_a_config_map_is_one_file_a_key():
    volume = {"name": "v", "configMap": {"name": "cfg", "defaultMode": 0o400}}
    assert volume_files(make_pod(), volume, SOURCES) == {"a": File(b"1", 0o400), "b": File(b"2", 0o400), "c": File(b"\x00", 0o400)}


def test_items_choose_keys_paths_and_modes():
    volume = {"name": "v", "secret": {"secretName": "sec", "items": [{"key": "k", "path": "dir/file", "mode": 0o600}]}}
    assert volume_files(make_pod(), volume, SOURCES) == {"dir/file": File(b"s", 0o600)}
    volume["secret"]["items"][0]["key"] = "none"
    with pytest.raises(ConfigError, match="references non-existent key: none"):
        volume_files(make_pod(), volume, SOURCES)


def test_the_usual_service_account_volume():
    pod = make_pod()
    volume = {
        "name": "kube-api-access",
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {"configMap": {"name": "cfg", "items": [{"key": "a", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ],
        },
    }
    assert token_requests(volume) == [TokenRequest("", 3607)]
    assert volume_references(volume) == [Reference("ConfigMap", "cfg", False)]
    files = volume_files(pod, volume, SOURCES)
    assert {path: file.content for path, file in files.items()} == {"token": b"TOKEN", "ca.crt": b"1", "namespace": b"default"}


def test_what_is_missing():
    with pytest.raises(ConfigError, match='configmap "x" not found'):
        volume_files(make_pod(), {"name": "v", "configMap": {"name": "x"}}, SOURCES)
    assert volume_files(make_pod(), {"name": "v", "secret": {"secretName": "x", "optional": True}}, SOURCES) == {}


def test_resources_in_a_downward_volume_are_of_the_named_container():
    pod = make_pod({"name": "app", "resources": {"limits": {"memory": "64Mi"}}})
    item = {"path": "mem", "resourceFieldRef": {"containerName": "app", "resource": "limits.memory", "divisor": "1Mi"}}
    assert volume_files(pod, {"name": "v", "downwardAPI": {"items": [item]}}, SOURCES)["mem"].content == b"64"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b"])
def test_paths_stay_within_the_volume(path):
    volume = {"name": "v", "configMap": {"name": "cfg", "items": [{"key": "a", "path": path}]}}
    with pytest.raises(ConfigError, match="must stay within the volume"):
        volume_files(make_pod(), volume, SOURCES)


def test_types_that_are_not_supported_are_refused_by_name():
    with pytest.raises(ConfigError, match="volumes of type nfs are not supported"):
        volume_type({"name": "v", "nfs": {}})
    with pytest.raises(ConfigError, match="projected source of type clusterTrustBundle is not supported"):
        volume_files(make_pod(), {"name": "v", "projected": {"sources": [{"clusterTrustBundle": {}}]}}, SOURCES)
    assert volume_type({"name": "v"}) == "emptyDir"
