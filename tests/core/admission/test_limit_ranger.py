"""LimitRanger: defaults that are set, bounds that are kept."""

import pytest

from k8sfromscratch.api.errors import Forbidden
from k8sfromscratch.api.registry import PERSISTENT_VOLUME_CLAIMS, PODS
from k8sfromscratch.core.admission.limit_ranger import ANNOTATION, LimitRanger
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.testing.views import MemoryView


def limits(*items):
    return MemoryView({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": list(items)}})


def container(name="c", requests=None, limits=None, **more):
    resources = {part: values for part, values in (("requests", requests), ("limits", limits)) if values}
    return {"name": name, **({"resources": resources} if resources else {}), **more}


def pod(*containers, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": list(containers), **spec}}


def claim(size):
    return {"metadata": {"name": "d", "namespace": "n"}, "spec": {"resources": {"requests": {"storage": size}} if size else {}}}


def request(obj, resource=PODS, operation="CREATE", subresource="", old=None):
    return AdmissionRequest(operation, resource, subresource, "n", obj["metadata"]["name"], UserInfo("u"), obj, old)


def test_containers_get_what_they_do_not_say_themselves():
    view = limits({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m", "memory": "64Mi"}})
    made = pod(container("a", requests={"cpu": "200m"}), container("b"), initContainers=[container("i", limits={"cpu": "2"}, requests={"cpu": "2"})])
    LimitRanger().mutate(request(made), view)
    a, b = made["spec"]["containers"]
    assert a["resources"] == {"requests": {"cpu": "200m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    assert b["resources"] == {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    assert made["metadata"]["annotations"][ANNOTATION] == (
        "LimitRanger plugin set: memory request for container a; cpu, memory limit for container a; cpu, memory request for container b; "
        "cpu, memory limit for container b; memory request for init container i; memory limit for init container i"
    )


def test_where_nothing_is_missing_nothing_is_told():
    made = pod(container(requests={"cpu": "1"}, limits={"cpu": "1"}))
    LimitRanger().mutate(request(made), limits({"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "2"}}))
    assert "annotations" not in made["metadata"]


BOUNDS = [
    ("Container", {"min": {"cpu": "100m"}}, container(), "minimum cpu usage per Container is 100m.  No request is specified"),
    ("Container", {"min": {"cpu": "100m"}}, container(requests={"cpu": "50m"}), "minimum cpu usage per Container is 100m, but request is 50m"),
    (
        "Container",
        {"min": {"cpu": "100m"}},
        container(requests={"cpu": "100m"}, limits={"cpu": "50m"}),
        "minimum cpu usage per Container is 100m, but limit is 50m",
    ),
    ("Container", {"max": {"memory": "1Gi"}}, container(), "maximum memory usage per Container is 1Gi.  No limit is specified"),
    ("Container", {"max": {"memory": "1Gi"}}, container(limits={"memory": "1025Mi"}), "maximum memory usage per Container is 1Gi, but limit is 1025Mi"),
    (
        "Container",
        {"max": {"memory": "1Gi"}},
        container(limits={"memory": "1Gi"}, requests={"memory": "2Gi"}),
        "maximum memory usage per Container is 1Gi, but request is 2Gi",
    ),
    (
        "Container",
        {"maxLimitRequestRatio": {"cpu": "2"}},
        container(limits={"cpu": "1"}, requests={"cpu": "300m"}),
        "cpu max limit to request ratio per Container is 2, but provided ratio is 3.333333",
    ),
    (
        "Container",
        {"maxLimitRequestRatio": {"cpu": "2"}},
        container(limits={"cpu": "1"}),
        "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
    ),
    ("Container", {"maxLimitRequestRatio": {"cpu": "2"}}, container(limits={"cpu": "1"}, requests={"cpu": "500m"}), None),
    ("Container", {"min": {"cpu": "1"}, "max": {"cpu": "1"}}, container(limits={"cpu": "1"}, requests={"cpu": "1000m"}), None),
    (
        "Container",
        {"min": {"cpu": "1"}, "max": {"memory": "1"}},
        container(),
        r"[minimum cpu usage per Container is 1.  No request is specified, maximum memory usage per Container is 1.  No limit is specified]",
    ),
    ("PersistentVolumeClaim", {"min": {"storage": "1Gi"}}, container(), None),
]


@pytest.mark.parametrize(("kind", "item", "given", "problem"), BOUNDS)
def test_containers_are_held_to_bounds(kind, item, given, problem):
    asked = request(pod(given))
    if problem is None:
        LimitRanger().validate(asked, limits({"type": kind, **item}))
        return
    with pytest.raises(Forbidden) as caught:
        LimitRanger().validate(asked, limits({"type": kind, **item}))
    assert str(caught.value) == f'pods "p" is forbidden: {problem}'


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (pod(container("a", limits={"cpu": "1"}), container("b", limits={"cpu": "1500m"})), "but limit is 2500m"),
        (pod(container("a", limits={"cpu": "1"}), initContainers=[container("i", limits={"cpu": "3"})]), "but limit is 3"),
        (pod(container("a", limits={"cpu": "1"}), initContainers=[container("i", limits={"cpu": "1500m"}, restartPolicy="Always")]), "but limit is 2500m"),
        (pod(container("a", limits={"cpu": "1"}), overhead={"cpu": "1100m"}), "but limit is 2100m"),
        (pod(container("a", limits={"cpu": "1"}), resources={"limits": {"cpu": "4"}}), "but limit is 4"),
        (pod(container("a", limits={"cpu": "2"}), initContainers=[container("i", limits={"cpu": "2"})]), None),
    ],
)
def test_a_pod_is_held_to_bounds_as_a_whole(made, problem):
    view = limits({"type": "Pod", "max": {"cpu": "2"}})
    if problem is None:
        LimitRanger().validate(request(made), view)
        return
    with pytest.raises(Forbidden, match=f"maximum cpu usage per Pod is 2, {problem}$"):
        LimitRanger().validate(request(made), view)


@pytest.mark.parametrize(
    ("size", "problem"), [("5Gi", None), ("512Mi", "minimum storage .* is 1Gi, but request is 512Mi"), ("11Gi", "maximum .* request is 11Gi")]
)
def test_claims_are_held_to_bounds(size, problem):
    view = limits({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "10Gi"}})
    asked = request(claim(size), PERSISTENT_VOLUME_CLAIMS)
    if problem is None:
        LimitRanger().validate(asked, view)
        return
    with pytest.raises(Forbidden, match=problem):
        LimitRanger().validate(asked, view)


def test_pods_that_are_there_are_judged_only_when_they_are_resized():
    view, made = limits({"type": "Container", "max": {"cpu": "1"}}), pod(container(limits={"cpu": "2"}))
    LimitRanger().validate(request(made, operation="UPDATE", old=made), view)
    LimitRanger().validate(request(made, operation="UPDATE", subresource="status", old=made), view)
    with pytest.raises(Forbidden):
        LimitRanger().validate(request(made, operation="UPDATE", subresource="resize", old=made), view)
