"""Resources, quality of service, security, probes and pressure: tables of what goes in and what comes out."""

import pytest

from k8sfromscratch.core.pods.container_config import ImageUser, NodeFacts, container_config, sandbox_config
from k8sfromscratch.core.pods.environment import ConfigError
from k8sfromscratch.core.pods.names import ClusterDns
from k8sfromscratch.core.pods.pressure import DEFAULT_THRESHOLDS, Threshold, parse_thresholds, under_pressure
from k8sfromscratch.core.pods.probes import HealthTally, UnsupportedProbe, port_number
from k8sfromscratch.core.pods.qos import qos_class
from k8sfromscratch.core.pods.resources import container_resources
from k8sfromscratch.core.pods.runtime_config import Dns, Namespaces, PortMapping, SeccompProfile
from k8sfromscratch.core.pods.runtime_state import Health
from k8sfromscratch.testing.pod_machine import make_pod

GI = 1 << 30
NODE = NodeFacts("n1", ClusterDns(("10.96.0.10",), "cluster.local", Dns()))


def _resources(limits=None, requests=None) -> dict:
    return {"name": "app", "resources": {"limits": limits or {}, "requests": requests or {}}}


@pytest.mark.parametrize(
    ("container", "qos", "shares", "quota", "memory", "oom"),
    [
        (_resources(), "BestEffort", 2, 0, 0, 1000),
        (_resources({"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}), "Guaranteed", 1024, 100_000, GI, -997),
        (_resources({"cpu": "500m", "memory": "1Gi"}), "Guaranteed", 512, 50_000, GI, -997),
        (_resources(requests={"cpu": "100m", "memory": "2Gi"}), "Burstable", 102, 0, 0, 750),
        (_resources({"cpu": "1m"}), "Burstable", 2, 1000, 0, 999),
        (_resources(requests={"memory": "8Gi"}), "Burstable", 2, 0, 0, 3),
    ],
)
def test_resources(container, qos, shares, quota, memory, oom):
    pod = make_pod(container)
    found = container_resources(pod, pod["spec"]["containers"][0], 8 * GI)
    assert qos_class(pod) == qos
    assert (found.cpu_shares, found.cpu_quota_us, found.memory_limit_bytes, found.oom_score_adj) == (shares, quota, memory, oom)


def test_a_critical_pod_is_the_last_to_be_killed():
    pod = make_pod(_resources(), priority=2_000_001_000)
    assert container_resources(pod, pod["spec"]["containers"][0], 8 * GI).oom_score_adj == -997


def _config(container: dict, image_user=ImageUser(), **spec):
    pod = make_pod({"name": "app", **container}, **spec)
    return container_config(pod, pod["spec"]["containers"][0], 2, image_ref="sha256:1", image_user=image_user, env={"A": "1"}, mounts=[], node=NODE)


def test_a_container():
    config = _config({"command": ["sh", "$(A)"], "args": ["$(B)"], "tty": True, "stdin": True})
    assert (config.command, config.args, config.tty, config.stdin, config.log_path) == (("sh", "1"), ("$(B)",), True, True, "app/2.log")


def test_security_of_the_container_wins_over_the_pods():
    config = _config(
        {
            "securityContext": {
                "runAsUser": 5,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"},
            }
        },
        securityContext={"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4], "seccompProfile": {"type": "RuntimeDefault"}},
    ).security
    assert (config.run_as_user, config.run_as_group, config.supplemental_groups) == (5, 2, (4, 3))
    assert (config.add_capabilities, config.drop_capabilities) == (("NET_ADMIN",), ("ALL",))
    assert (config.readonly_rootfs, config.no_new_privileges, config.privileged) == (True, True, False)
    assert config.seccomp == SeccompProfile("Localhost", "/var/lib/kubelet/seccomp/p.json")


@pytest.mark.parametrize(
    ("security", "image_user", "problem"),
    [
        ({"runAsUser": 0}, ImageUser(), "runAsUser breaks non-root policy"),
        ({}, ImageUser(0), "image will run as root"),
        ({}, ImageUser(), "image will run as root"),
        ({}, ImageUser(None, "daemon"), "non-numeric user"),
        ({"runAsUser": 7}, ImageUser(0), None),
        ({}, ImageUser(7), None),
    ],
)
def test_run_as_non_root(security, image_user, problem):
    container = {"securityContext": {"runAsNonRoot": True, **security}}
    if problem is None:
        _config(container, image_user)
    else:
        with pytest.raises(ConfigError, match=problem):
            _config(container, image_user)


def test_a_sandbox():
    pod = make_pod(
        {"name": "app", "ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}], "securityContext": {"privileged": True}},
        hostPID=True,
        shareProcessNamespace=True,
        securityContext={"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]},
    )
    config = sandbox_config(pod, 3, NODE)
    assert (config.attempt, config.hostname, config.log_directory) == (3, "web", "/var/log/pods/default_web_u1")
    assert config.port_mappings == (PortMapping(80, 8080),)
    assert config.namespaces == Namespaces(host_pid=True, shared_pid=True)
    assert (config.security.privileged, config.sysctls) == (True, {"net.core.somaxconn": "1"})
    assert config.dns == Dns(("10.96.0.10",), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"), ("ndots:5",))


@pytest.mark.parametrize("spec", [{"runtimeClassName": "gvisor"}, {"hostUsers": False}])
def test_what_cannot_be_done_is_refused(spec):
    with pytest.raises(ConfigError, match="not supported"):
        sandbox_config(make_pod("app", **spec), 0, NODE)


def _probed(**probes) -> HealthTally:
    return HealthTally.of({"name": "app", **{f"{kind}Probe": {"tcpSocket": {"port": 1}, **body} for kind, body in probes.items()}})


def test_readiness_needs_its_threshold_both_ways():
    tally = _probed(readiness={"successThreshold": 2, "failureThreshold": 2})
    seen = []
    for success in (True, True, False, True, False, False):
        tally.note("readiness", success, "")
        seen.append(tally.health().ready)
    assert seen == [False, True, True, True, True, False]


def test_liveness_fails_for_good_after_its_threshold():
    tally = _probed(liveness={"failureThreshold": 2, "terminationGracePeriodSeconds": 4})
    tally.note("liveness", False, "refused")
    assert tally.health() == Health()
    tally.note("liveness", False, "refused")
    assert tally.health() == Health(True, False, "Container app failed liveness probe, will be restarted", 4)


def test_nothing_else_is_asked_before_the_startup_probe_succeeds():
    tally = _probed(startup={}, liveness={}, readiness={})
    assert (tally.asks("startup"), tally.asks("liveness"), tally.asks("readiness")) == (True, False, False)
    assert tally.health() == Health(False, False)
    tally.note("startup", True, "")
    assert (tally.asks("startup"), tally.asks("liveness"), tally.health().started) == (False, True, True)


def test_a_new_kubelet_takes_over_what_the_last_one_knew():
    container = {"name": "app", "readinessProbe": {"exec": {}}, "startupProbe": {"exec": {}}}
    assert HealthTally.of(container, Health(True, True)).health() == Health(True, True)


def test_grpc_probes_are_refused():
    with pytest.raises(UnsupportedProbe, match="liveness probe of container app: a handler of type grpc is not supported"):
        HealthTally.of({"name": "app", "livenessProbe": {"grpc": {"port": 1}}})


def test_ports_by_name():
    container = {"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}
    assert (port_number(container, "http"), port_number(container, 1), port_number(container, "9")) == (8080, 1, 9)
    with pytest.raises(ValueError, match="no port named 'x'"):
        port_number(container, "x")


def test_pressure():
    thresholds = parse_thresholds("memory.available<100Mi,nodefs.available<10%")
    assert thresholds == {"memory.available": Threshold(100 << 20), "nodefs.available": Threshold(share=0.1)}
    total = {"memory.available": GI, "nodefs.available": 1000, "nodefs.inodesFree": 0, "pid.available": 100}
    left = {"memory.available": 99 << 20, "nodefs.available": 101, "nodefs.inodesFree": 0, "pid.available": 1}
    assert under_pressure(thresholds, left, total) == {"MemoryPressure": True, "DiskPressure": False, "PIDPressure": False}
    assert under_pressure(parse_thresholds(DEFAULT_THRESHOLDS), left, total)["PIDPressure"]
    with pytest.raises(ValueError, match="eviction threshold"):
        parse_thresholds("imagefs.available<1%")
