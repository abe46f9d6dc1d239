"""PodSecurity: every check of both levels, their versions, and what is told to whom."""

import pytest

from k8sfromscratch.api.errors import Forbidden, Invalid
from k8sfromscratch.api.registry import CRON_JOBS, DEPLOYMENTS, NAMESPACES, PODS
from k8sfromscratch.core.admission.pod_security import PodSecurity
from k8sfromscratch.core.admission.pod_security_baseline import Subject
from k8sfromscratch.core.admission.pod_security_policy import LATEST, Standard, evaluate, policy_of, told
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.testing.views import MemoryView

HARDENED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def container(name="c", **more):
    return {"name": name, "image": "i", "securityContext": HARDENED, **more}


def hardened(**context):
    return container(securityContext={**HARDENED, **context})


def findings(spec, level="baseline", minor=LATEST, **metadata):
    return told(evaluate(Subject(metadata, spec), Standard(level, minor)))


BASELINE = [
    ({"hostNetwork": True, "hostPID": True, "hostIPC": True}, "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)"),
    ({"containers": [hardened(privileged=True)]}, 'privileged (container "c" must not set securityContext.privileged=true)'),
    (
        {"containers": [container("a", securityContext={"privileged": True})], "initContainers": [container("b", securityContext={"privileged": True})]},
        'privileged (containers "b", "a" must not set securityContext.privileged=true)',
    ),
    (
        {"containers": [hardened(capabilities={"add": ["NET_ADMIN", "CHOWN", "BPF"]})]},
        'non-default capabilities (container "c" must not include "BPF", "NET_ADMIN" in securityContext.capabilities.add)',
    ),
    ({"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "emptyDir": {}}]}, 'hostPath volumes (volume "a")'),
    (
        {"containers": [container(ports=[{"containerPort": 80, "hostPort": 80}, {"containerPort": 1, "hostPort": 443}])]},
        'hostPort (container "c" uses hostPorts 443, 80)',
    ),
    (
        {"containers": [container(livenessProbe={"httpGet": {"port": 1, "host": "10.0.0.1"}})]},
        'probe or lifecycle host (container "c" uses probe or lifecycle host "10.0.0.1")',
    ),
    ({"containers": [hardened(procMount="Unmasked")]}, 'procMount (container "c" must not set securityContext.procMount to "Unmasked")'),
    ({"containers": [hardened(procMount="Unmasked")], "hostUsers": False}, ""),
    (
        {"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}},
        'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)',
    ),
    ({"securityContext": {"seLinuxOptions": {"type": "container_t", "level": "s0"}}}, ""),
    (
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}, "containers": [hardened(seccompProfile={"type": "Unconfined"})]},
        'seccompProfile (pod and container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    (
        {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}, {"name": "net.ipv4.tcp_rmem", "value": "1"}]}},
        "forbidden sysctls (kernel.msgmax)",
    ),
    (
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
        'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")',
    ),
    (
        {"containers": [hardened(windowsOptions={"hostProcess": True})]},
        'hostProcess (container "c" must not set securityContext.windowsOptions.hostProcess=true)',
    ),
    ({}, ""),
]


@pytest.mark.parametrize(("spec", "expected"), BASELINE)
def test_the_baseline(spec, expected):
    assert findings({"containers": [container()], **spec}) == expected


RESTRICTED = [
    (
        {"containers": [{"name": "c", "image": "i"}]},
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
    ),
    ({"containers": [container()]}, ""),
    (
        {
            "containers": [container(securityContext={"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}})],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}},
        },
        "",
    ),
    (
        {"containers": [hardened(capabilities={"add": ["CHOWN"]})]},
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]; '
        'container "c" must not include "CHOWN" in securityContext.capabilities.add)',
    ),
    ({"containers": [hardened(runAsUser=0)]}, 'runAsUser=0 (container "c" must not set runAsUser=0)'),
    ({"containers": [hardened(runAsNonRoot=False)]}, 'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)'),
    (
        {"containers": [container()], "volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "nfs": {}}, {"name": "c", "csi": {}}]},
        'restricted volume types (volumes "a", "b" use restricted volume types "hostPath", "nfs")',
    ),
    # Where restricted has a stricter check, the baseline's is not told as well.
    (
        {"containers": [hardened(seccompProfile={"type": "Unconfined"})]},
        'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    (
        {"containers": [hardened(procMount="Unmasked")], "hostUsers": False},
        'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
    ),
    # What is Linux's own is not asked of Windows.
    ({"containers": [{"name": "c", "securityContext": {"runAsNonRoot": True}}], "os": {"name": "windows"}}, ""),
    # Baseline first.
    (
        {"containers": [hardened(privileged=True, runAsUser=0)], "hostPID": True},
        'host namespaces (hostPID=true), privileged (container "c" must not set securityContext.privileged=true), '
        'runAsUser=0 (container "c" must not set runAsUser=0)',
    ),
]


@pytest.mark.parametrize(("spec", "expected"), RESTRICTED)
def test_restricted(spec, expected):
    assert findings(spec, "restricted") == expected


RESERVED = {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}]}, "containers": [container()]}
PROBED = {"containers": [container(readinessProbe={"tcpSocket": {"port": 1, "host": "h"}})]}
UNCONFINED = {"containers": [hardened(seccompProfile={"type": "Unconfined"})]}


@pytest.mark.parametrize(
    ("spec", "level", "minor", "violates"),
    [
        (RESERVED, "baseline", 26, True),
        (RESERVED, "baseline", 27, False),
        (PROBED, "baseline", 33, False),
        (PROBED, "baseline", 34, True),
        (UNCONFINED, "restricted", 18, False),
        (UNCONFINED, "restricted", 19, True),
        ({"containers": [hardened(runAsUser=0)]}, "restricted", 22, False),
        ({"containers": [hardened(runAsUser=0)]}, "restricted", 23, True),
        ({"containers": [{"name": "c"}]}, "privileged", LATEST, False),
    ],
)
def test_a_version_stands_for_the_standard_as_it_was(spec, level, minor, violates):
    assert bool(findings(spec, level, minor)) is violates


def test_annotations_of_old():
    spec = {"containers": [container()]}
    seccomp = {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}
    assert findings(spec, minor=18, **seccomp) == 'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    assert findings(spec, minor=19, **seccomp) == ""
    armor = {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}}
    assert findings(spec, **armor).startswith("forbidden AppArmor profile (annotation must not set AppArmor profile type to ")


# -- namespaces


def labels(**values):
    return {f"pod-security.kubernetes.io/{name.replace('_', '-')}": value for name, value in values.items()}


def namespace(**values):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": labels(**values)}}


def request(resource, obj, old=None, subresource=""):
    operation = "CREATE" if old is None else "UPDATE"
    space = "n" if resource.namespaced else ""
    return AdmissionRequest(operation, resource, subresource, space, obj["metadata"]["name"], UserInfo("u"), obj, old)


def pod(name="p", image="i", **spec):
    metadata = {"name": name, "namespace": "n"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "c", "image": image}], **spec}}


def judged(view, *args):
    asked = request(*args)
    PodSecurity().validate(asked, view)
    return asked.warnings


def test_labels_say_what_holds():
    policy, causes = policy_of(labels(enforce="baseline", enforce_version="v1.29", warn="restricted"))
    assert ([str(policy.enforce), str(policy.warn), str(policy.audit)], causes) == (["baseline:v1.29", "restricted:latest", "privileged:latest"], [])
    policy, causes = policy_of(labels(enforce="strict", warn="strict", warn_version="1.2"))
    assert (policy.enforce.level, policy.warn.level) == ("restricted", "privileged")
    assert [f"{cause.field}: {cause.message}" for cause in causes] == [
        'metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted',
        'metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "strict": must be one of privileged, baseline, restricted',
        'metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.2": must be "latest" or "v1.x"',
    ]


def test_a_pod_that_violates_what_is_enforced_is_refused():
    with pytest.raises(Forbidden) as caught:
        judged(MemoryView(namespace(enforce="baseline", warn="restricted")), PODS, pod(hostPID=True))
    assert str(caught.value) == 'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'
    assert judged(MemoryView(namespace()), PODS, pod(hostPID=True)) == []
    (warning,) = judged(MemoryView(namespace(enforce="baseline", warn="restricted")), PODS, pod())
    assert warning.startswith('would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set')


def test_a_workload_is_warned_of_and_never_refused():
    view = MemoryView(namespace(enforce="restricted", warn="baseline"))
    template = {"metadata": {}, "spec": pod(hostNetwork=True)["spec"]}
    deployment = {"metadata": {"name": "d", "namespace": "n"}, "spec": {"template": template}}
    cron_job = {"metadata": {"name": "d", "namespace": "n"}, "spec": {"jobTemplate": {"spec": {"template": template}}}}
    for resource, obj in ((DEPLOYMENTS, deployment), (CRON_JOBS, cron_job)):
        assert judged(view, resource, obj) == ['would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)']
    assert judged(view, DEPLOYMENTS, deployment, deployment, "status") == []


def test_an_update_is_judged_where_it_matters():
    view = MemoryView(namespace(enforce="baseline"))
    old = pod(hostPID=True)
    assert judged(view, PODS, pod(hostPID=True), old) == [], "it was there before the label"
    assert judged(view, PODS, pod(hostPID=True, image="other"), old, "status") == []
    for changed, subresource in (
        (pod(hostPID=True, image="other"), ""),
        (pod(hostPID=True, ephemeralContainers=[{"name": "e", "image": "i"}]), "ephemeralcontainers"),
    ):
        with pytest.raises(Forbidden, match="host namespaces"):
            judged(view, PODS, changed, old, subresource)


def test_a_namespaces_labels_must_be_right_when_they_change():
    bad = namespace(enforce="strict")
    with pytest.raises(Invalid, match=r'Namespace "n" is invalid: metadata.labels\[pod-security.kubernetes.io/enforce\]: Invalid value: "strict"'):
        judged(MemoryView(), NAMESPACES, bad)
    with pytest.raises(Invalid):
        judged(MemoryView(), NAMESPACES, bad, namespace(enforce="baseline"))
    assert judged(MemoryView(), NAMESPACES, bad, bad) == []


def test_a_stricter_label_tells_which_pods_would_not_pass():
    view = MemoryView(pod("b", hostPID=True), pod("a", hostPID=True), pod("d", hostPID=True), pod("e", hostNetwork=True, hostPID=True), pod("fine"))
    privileged = [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]
    view.put(pod("c", containers=privileged))
    assert judged(view, NAMESPACES, namespace(enforce="baseline"), namespace()) == [
        'existing pods in namespace "n" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 3 other pods): host namespaces",
        "c: privileged",
    ]
    assert judged(view, NAMESPACES, namespace(enforce="baseline"), namespace(enforce="restricted")) == []
    assert judged(view, NAMESPACES, namespace(warn="baseline"), namespace()) == []
