import base64

import pytest

from k8sfromscratch.core.pods.environment import ConfigError, Reference, Sources, environment, expand, field_value, references, service_variables
from k8sfromscratch.testing.pod_machine import make_pod


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("$(A)$(B)", "12"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
    ],
)
def test_expansion(text, expanded):
    assert expand(text, {"A": "1", "B": "2"}) == expanded


def _env(container: dict, **sources) -> dict[str, str]:
    pod = make_pod({"name": "app", **container}, enableServiceLinks=False, serviceAccountName="robot")
    pod["metadata"] |= {"labels": {"app": "web"}, "annotations": {"a/b": 'say "hi"'}}
    return environment(pod, pod["spec"]["containers"][0], Sources(**sources))


def test_values_may_use_earlier_ones_and_replace_them():
    env = _env({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}, {"name": "C", "value": "$(D)"}, {"name": "A", "value": "x$(A)"}]})
    assert env == {"A": "x1", "B": "12", "C": "$(D)"}


def test_env_from_with_prefix_is_overridden_by_env():
    config = {"data": {"K": "config", "OTHER": "o"}}
    secret = {"data": {"K": base64.b64encode(b"secret").decode()}}
    env = _env(
        {
            "envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "P_", "secretRef": {"name": "s"}}, {"configMapRef": {"name": "none", "optional": True}}],
            "env": [{"name": "OTHER", "value": "$(K)"}],
        },
        config_maps={"c": config},
        secrets={"s": secret},
    )
    assert env == {"K": "config", "OTHER": "config", "P_K": "secret"}


def test_what_is_missing_is_named_unless_it_is_optional():
    ref = {"name": "c", "key": "k"}
    with pytest.raises(ConfigError, match='configmap "c" not found'):
        _env({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": ref}}]})
    with pytest.raises(ConfigError, match="couldn't find key k in Secret default/c"):
        _env({"env": [{"name": "A", "valueFrom": {"secretKeyRef": ref}}]}, secrets={"c": {}})
    assert _env({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {**ref, "optional": True}}}]}) == {}
    with pytest.raises(ConfigError, match='secret "s" not found'):
        _env({"envFrom": [{"secretRef": {"name": "s"}}]})


def test_references_are_what_must_be_fetched():
    container = {
        "envFrom": [{"configMapRef": {"name": "a"}}],
        "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "b", "key": "k", "optional": True}}}, {"name": "Y", "value": "z"}],
    }
    assert references(container) == [Reference("ConfigMap", "a", False), Reference("Secret", "b", True)]


def test_the_downward_api():
    def ref(path):
        return {"name": path, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    paths = [
        "metadata.name",
        "metadata.uid",
        "metadata.labels['app']",
        "metadata.annotations['a/b']",
        "spec.serviceAccountName",
        "status.podIP",
        "status.hostIP",
        "status.podIPs",
    ]
    env = _env({"env": [ref(p) for p in paths]}, pod_ips=("10.1.0.2", "fd00::2"), host_ips=("10.0.0.1",))
    assert list(env.values()) == ["web", "u1", "web", 'say "hi"', "robot", "10.1.0.2", "10.0.0.1", "10.1.0.2,fd00::2"]
    with pytest.raises(ConfigError, match="unsupported fieldPath"):
        _env({"env": [ref("spec.nodeSelector")]})


def test_labels_as_a_file_are_quoted_lines():
    pod = make_pod("app")
    pod["metadata"]["labels"] = {"b": "2", "a": 'q"\n'}
    assert field_value(pod, "metadata.labels") == 'a="q\\"\\n"\nb="2"'


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "1", "2"),
        ("limits.cpu", "1m", "1500"),
        ("requests.memory", "1Mi", "64"),
        ("requests.memory", "0", "67108864"),
        ("limits.memory", "1Gi", "4"),
        ("requests.cpu", "1", "0"),
    ],
)
def test_resource_fields_are_rounded_up_and_fall_back_to_the_node(resource, divisor, value):
    container = {
        "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}},
        "env": [{"name": "R", "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}}],
    }
    assert _env(container, node_allocatable={"memory": "4Gi"}) == {"R": value}


def _service(name, namespace="default", ip="10.96.0.10", ports=({"port": 80},)):
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": list(ports)}}


def test_service_variables():
    pod = make_pod("app")
    services = [
        _service("my-db", ports=({"name": "sql", "port": 5432}, {"port": 53, "protocol": "UDP"})),
        _service("headless", ip="None"),
        _service("far", namespace="other"),
    ]
    assert service_variables(pod, services) == {
        "MY_DB_SERVICE_HOST": "10.96.0.10",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_SQL": "5432",
        "MY_DB_PORT": "tcp://10.96.0.10:5432",
        "MY_DB_PORT_5432_TCP": "tcp://10.96.0.10:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.96.0.10",
        "MY_DB_PORT_53_UDP": "udp://10.96.0.10:53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "10.96.0.10",
    }


def test_without_service_links_only_the_apiserver_is_known():
    pod = make_pod("app", enableServiceLinks=False)
    pod["metadata"]["namespace"] = "elsewhere"
    env = service_variables(pod, [_service("db", namespace="elsewhere"), _service("kubernetes", ip="10.96.0.1", ports=({"port": 443},))])
    assert {k.split("_")[0] for k in env} == {"KUBERNETES"}
    assert env["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
