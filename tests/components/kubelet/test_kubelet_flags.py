import pytest

from k8sfromscratch.components.kubelet.config import KubeletFlags
from k8sfromscratch.process.flags import FlagError

NEEDED = ["--kubeconfig=k", "--tls-cert-file=c", "--tls-private-key-file=p", "--client-ca-file=ca"]


def test_a_usual_command_line():
    flags = KubeletFlags.parse(
        [*NEEDED, "--node-ip=10.0.0.1", "--cluster-dns=10.96.0.10,10.96.0.11", "--node-labels=a=b,role=", "--register-with-taints=k=v:NoSchedule,x:NoExecute"]
    )
    assert (flags.node_ip, flags.cluster_dns) == (["10.0.0.1"], ["10.96.0.10", "10.96.0.11"])
    assert flags.node_labels == {"a": "b", "role": ""}
    assert flags.register_with_taints == ["k=v:NoSchedule", "x:NoExecute"]
    assert KubeletFlags.parse(flags.argv()) == flags


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("--container-runtime-endpoint=tcp://x", "only unix:///PATH is supported"),
        ("--register-with-taints=k=v", "expected key=value:effect"),
        ("--eviction-hard=cpu<1", "eviction threshold"),
        ("--anonymous-auth=true", "only false is supported"),
        ("--read-only-port=10255", "--read-only-port"),
        ("--cgroup-driver=systemd", "--cgroup-driver"),
        ("--authorization-mode=RBAC", "--authorization-mode"),
        ("--pod-manifest-path=/etc", "unknown flag: --pod-manifest-path"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(word, problem):
    with pytest.raises(FlagError, match=problem):
        KubeletFlags.parse([*NEEDED, word])


def test_false_may_be_said_aloud():
    assert KubeletFlags.parse([*NEEDED, "--anonymous-auth=false", "--read-only-port=0"]) == KubeletFlags.parse(NEEDED)
