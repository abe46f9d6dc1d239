"""The machines and what they report as nodes."""

from k8sfromscratch import KUBERNETES_VERSION
from tests.lab.conftest import Lab


def test_every_machine_is_a_ready_node(lab: Lab) -> None:
    lab.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=60s", timeout_s=70)
    nodes = {node["metadata"]["name"]: node for node in lab.get("nodes")["items"]}
    assert set(nodes) == {machine.name for machine in lab.spec.machines}
    for machine in lab.spec.machines:
        status = nodes[machine.name]["status"]
        assert {"type": "InternalIP", "address": str(machine.address)} in status["addresses"]
        assert status["nodeInfo"]["kubeletVersion"] == KUBERNETES_VERSION


def test_kubectl_prints_nodes_as_usual(lab: Lab) -> None:
    header, *rows = lab.kubectl("get", "nodes").splitlines()
    assert header.split() == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    table = {row.split()[0]: row.split() for row in rows}
    assert all(table[master][1:3] == ["Ready", "control-plane"] for master in lab.masters)
    assert all(row[4].startswith("v1.35.") for row in table.values())


def test_only_masters_keep_workloads_off(lab: Lab) -> None:
    tainted = {node["metadata"]["name"] for node in lab.get("nodes")["items"] if node["spec"].get("taints")}
    assert tainted == set(lab.masters)


def test_each_machine_has_cgroups_of_its_own(lab: Lab) -> None:
    """Two machines' containerd must not share a cgroup: cleaning up in one would kill the other's pods."""
    seen: dict[str, set[str]] = {}
    for worker in lab.workers:
        # Seen from inside, in every hierarchy: all processes of the cgroup are processes of this machine.
        output = lab.ssh(
            worker, "find /sys/fs/cgroup -path '*containerd.service/cgroup.procs' -exec cat {} +; echo; cat /proc/sys/kernel/random/boot_id /etc/machine-id"
        )
        pids = set(output.split("\n\n")[0].split())
        assert "0" not in pids, "a process of another machine shows as 0 here"
        seen[worker] = pids
    assert all(seen.values())
    # cgroup v2 is one hierarchy; of v1, one controller's stands for all.
    hierarchy = lab.ssh(lab.workers[0], "if [ -d /sys/fs/cgroup/pids ]; then echo /sys/fs/cgroup/pids; else echo /sys/fs/cgroup; fi").strip()
    lab.ssh(lab.workers[0], f"mkdir {hierarchy}/own-cgroup-test")
    try:
        for other in lab.workers[1:]:
            assert lab.ssh(other, f"ls {hierarchy} | grep -c own-cgroup-test || true").strip() == "0"
    finally:
        lab.ssh(lab.workers[0], f"rmdir {hierarchy}/own-cgroup-test")
