"""What objects use of quotas, which quotas are about them, and a recount of all."""

from datetime import UTC, datetime

import pytest

from k8sfromscratch.api.registry import DEPLOYMENTS, PERSISTENT_VOLUME_CLAIMS, PODS, SECRETS, SERVICES
from k8sfromscratch.core.admission.amounts import texts
from k8sfromscratch.core.admission.quota import recounted
from k8sfromscratch.core.admission.quota_scopes import matches
from k8sfromscratch.core.admission.quota_usage import usage

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def pod(*containers, phase="Running", metadata=None, **spec):
    return {"metadata": {"name": "p", **(metadata or {})}, "spec": {"containers": list(containers), **spec}, "status": {"phase": phase}}


def container(requests=None, limits=None):
    return {"name": "c", "resources": {"requests": requests or {}, "limits": limits or {}}}


BIG = container({"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "1G", "hugepages-2Mi": "4Mi", "example.com/gpu": "2"}, {"cpu": "1"})

USAGES = [
    (PODS, pod(), {"count/pods": "1", "pods": "1"}),
    (
        PODS,
        pod(BIG, container({"cpu": "500m"})),
        {
            "count/pods": "1", "pods": "1", "cpu": "1", "requests.cpu": "1", "limits.cpu": "1", "memory": "1Gi", "requests.memory": "1Gi",
            "ephemeral-storage": "1G", "requests.ephemeral-storage": "1G", "hugepages-2Mi": "4Mi", "requests.hugepages-2Mi": "4Mi",
            "requests.example.com/gpu": "2",
        },
    ),
    (PODS, pod(BIG, phase="Succeeded"), {"count/pods": "1"}),
    (PODS, pod(metadata={"deletionTimestamp": "2026-02-28T23:00:00Z", "deletionGracePeriodSeconds": 30}), {"count/pods": "1"}),
    (PODS, pod(metadata={"deletionTimestamp": "2026-02-28T23:59:59Z", "deletionGracePeriodSeconds": 30}), {"count/pods": "1", "pods": "1"}),
    (SERVICES, {"spec": {"type": "ClusterIP", "ports": [{}]}}, {"count/services": "1", "services": "1"}),
    (SERVICES, {"spec": {"type": "NodePort", "ports": [{}, {}]}}, {"count/services": "1", "services": "1", "services.nodeports": "2"}),
    (
        SERVICES,
        {"spec": {"type": "LoadBalancer", "ports": [{}, {"nodePort": 30000}], "allocateLoadBalancerNodePorts": False}},
        {"count/services": "1", "services": "1", "services.loadbalancers": "1", "services.nodeports": "1"},
    ),
    (
        PERSISTENT_VOLUME_CLAIMS,
        {"metadata": {}, "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}}}},
        {
            "count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1", "requests.storage": "5Gi",
            "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1", "fast.storageclass.storage.k8s.io/requests.storage": "5Gi",
        },
    ),
    (SECRETS, {"metadata": {}}, {"count/secrets": "1", "secrets": "1"}),
    (DEPLOYMENTS, {"metadata": {}}, {"count/deployments.apps": "1"}),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "obj", "expected"), USAGES)
def test_usage(resource, obj, expected):
    assert texts(usage(resource, obj, NOW)) == expected


LIMITED = container({"cpu": "1"}, {"cpu": "1"})
ELSEWHERE = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "t", "namespaceSelector": {}}]}}
HERE = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {"topologyKey": "t"}}]}}


def selector(scope, operator, *values):
    return {"scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": operator, **({"values": list(values)} if values else {})}]}}


@pytest.mark.parametrize(
    ("spec", "obj", "about"),
    [
        ({}, pod(), True),
        ({"scopes": ["BestEffort"]}, pod(container()), True),
        ({"scopes": ["BestEffort"]}, pod(LIMITED), False),
        ({"scopes": ["NotBestEffort"]}, pod(LIMITED), True),
        ({"scopes": ["Terminating"]}, pod(activeDeadlineSeconds=0), True),
        ({"scopes": ["NotTerminating"]}, pod(activeDeadlineSeconds=5), False),
        ({"scopes": ["NotTerminating", "BestEffort"]}, pod(LIMITED), False),
        (selector("PriorityClass", "In", "high"), pod(priorityClassName="high"), True),
        (selector("PriorityClass", "In", "high"), pod(priorityClassName="low"), False),
        (selector("PriorityClass", "NotIn", "high"), pod(priorityClassName="low"), True),
        (selector("PriorityClass", "Exists"), pod(), False),
        (selector("CrossNamespacePodAffinity", "Exists"), pod(affinity=ELSEWHERE), True),
        (selector("CrossNamespacePodAffinity", "Exists"), pod(affinity=HERE), False),
    ],
)
def test_scopes(spec, obj, about):
    assert matches({"spec": spec}, PODS, obj) is about
    assert matches({"spec": spec}, SERVICES, {"spec": {}}) is (not spec)


def test_a_recount_says_all_that_is_limited_and_no_more():
    quota = {"spec": {"hard": {"pods": "10", "requests.cpu": "2000m", "services": "1"}}}
    present = {PODS: [pod(container({"cpu": "250m"})), pod(container({"cpu": "1"}), phase="Failed")], SERVICES: []}
    assert recounted(quota, present, NOW) == {
        "hard": {"pods": "10", "requests.cpu": "2", "services": "1"},
        "used": {"pods": "1", "requests.cpu": "250m", "services": "0"},
    }
