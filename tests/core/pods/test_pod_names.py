import pytest

from k8sfromscratch.core.pods.images import parse_image_name, pull_policy
from k8sfromscratch.core.pods.names import ClusterDns, host_name, hosts_file, parse_resolv_conf, pod_dns
from k8sfromscratch.core.pods.runtime_config import Dns
from k8sfromscratch.testing.pod_machine import make_pod

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("me/app", "docker.io/me/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("registry.k8s.io/pause:3.8", "registry.k8s.io/pause:3.8"),
        ("localhost/app", "localhost/app:latest"),
        ("host:5000/a/b:t", "host:5000/a/b:t"),
        (f"app@{DIGEST}", f"docker.io/library/app@{DIGEST}"),
        (f"quay.io/a:1@{DIGEST}", f"quay.io/a:1@{DIGEST}"),
    ],
)
def test_image_names_are_completed(text, full):
    assert str(parse_image_name(text)) == full


@pytest.mark.parametrize("text", ["", "Busybox", "busybox:", "a b", "busybox@sha256:12", "http://x/y", "a//b", "-a", "busybox:t!"])
def test_what_is_no_image_name(text):
    with pytest.raises(ValueError, match="invalid image name"):
        parse_image_name(text)


@pytest.mark.parametrize(
    ("image", "policy", "effective"),
    [("a", None, "Always"), ("a:latest", "", "Always"), ("a:1", None, "IfNotPresent"), (f"a@{DIGEST}", None, "IfNotPresent"), ("a", "Never", "Never")],
)
def test_pull_policy(image, policy, effective):
    assert pull_policy(image, policy) == effective


CLUSTER = ClusterDns(("10.96.0.10",), "cluster.local", Dns(("192.168.0.1",), ("example.com",), ("edns0",)))


def test_cluster_first():
    dns = pod_dns(make_pod("app"), CLUSTER)
    assert dns.servers == ("10.96.0.10",)
    assert dns.searches == ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com")
    assert dns.options == ("ndots:5",)


@pytest.mark.parametrize(
    ("spec", "servers"),
    [
        ({"dnsPolicy": "Default"}, ("192.168.0.1",)),
        ({"dnsPolicy": "ClusterFirst", "hostNetwork": True}, ("192.168.0.1",)),
        ({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True}, ("10.96.0.10",)),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"]}}, ("9.9.9.9",)),
        ({"dnsConfig": {"nameservers": ["9.9.9.9", "10.96.0.10"]}}, ("10.96.0.10", "9.9.9.9")),
    ],
)
def test_dns_policies(spec, servers):
    assert pod_dns(make_pod("app", **spec), CLUSTER).servers == servers


def test_dns_options_of_the_pod_replace_those_of_the_policy():
    options = [{"name": "ndots", "value": "2"}, {"name": "rotate"}]
    assert pod_dns(make_pod("app", dnsConfig={"options": options}), CLUSTER).options == ("ndots:2", "rotate")


def test_resolv_conf():
    text = "# c\nnameserver 1.1.1.1\nsearch a.b c.d.\nsearch e.f\noptions ndots:1 rotate\nnameserver\n"
    assert parse_resolv_conf(text) == Dns(("1.1.1.1",), ("e.f",), ("ndots:1", "rotate"))


def test_hosts_file_names_the_pod_and_its_aliases():
    pod = make_pod("app", hostname="h", subdomain="sub", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["x", "y"]}])
    lines = hosts_file(pod, ["10.1.0.2"], "cluster.local", "").splitlines()
    assert "127.0.0.1\tlocalhost" in lines
    assert "10.1.0.2\th.sub.default.svc.cluster.local\th" in lines
    assert lines[-1] == "1.2.3.4\tx\ty"


def test_a_host_network_pod_sees_the_hosts_file_and_name():
    pod = make_pod("app", hostNetwork=True)
    assert "10.9.9.9 node" in hosts_file(pod, ["10.0.0.1"], "cluster.local", "10.9.9.9 node\n")
    assert host_name(pod, "node-1") == "node-1"


def test_long_names_are_cut_to_a_host_name():
    pod = make_pod("app")
    pod["metadata"]["name"] = "a" * 62 + ".bcd"
    assert host_name(pod, "") == "a" * 62
