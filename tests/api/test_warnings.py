"""Warnings: what is accepted, and hardly meant; what is deprecated; what is stored and not acted upon."""

import pytest

from k8sfromscratch.api import registry as r
from k8sfromscratch.api.warnings import deprecation, of_creation, of_custom, of_update

NOT_A_LABEL = "which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"


def pod(name="p", annotations=None, container=None, **spec):
    containers = [{"name": "c", "image": "i", **(container or {})}]
    return {"metadata": {"name": name, "annotations": annotations or {}}, "spec": {"containers": containers, **spec}}


def deployment(template, name="d", **spec):
    return {"metadata": {"name": name}, "spec": {"template": template, **spec}}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (pod(), []),
        (pod(name="a.b"), [f"metadata.name: this is used in the Pod's hostname, {NOT_A_LABEL}"]),
        (
            pod(nodeSelector={"beta.kubernetes.io/os": "linux", "disk": "ssd"}),
            ['spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'],
        ),
        (
            pod(container={"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}]}),
            ['spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply'],
        ),
        (
            pod(container={"resources": {"limits": {"memory": "100m", "cpu": "100m"}, "requests": {"memory": "1Gi"}}}),
            ['spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer'],
        ),
        (
            pod(container={"ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}, {"containerPort": 80, "hostPort": 8080}]}),
            ["spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[0]"],
        ),
        (
            pod(initContainers=[{"name": "i", "ports": [{"containerPort": 80}]}], container={"ports": [{"containerPort": 80}]}),
            ["spec.containers[0].ports[0]: duplicate port definition with spec.initContainers[0].ports[0]"],
        ),
        (
            pod(container={"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}]}),
            ["spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]"],
        ),
        (pod(volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "rbd": {}}]), ["spec.volumes[1].rbd: deprecated in v1.28, non-functional in v1.31+"]),
        (pod(hostAliases=[{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]), ['spec.hostAliases[1].ip: duplicate ip "1.1.1.1"']),
        (pod(imagePullSecrets=[{}]), ['spec.imagePullSecrets[0].name: invalid empty name ""']),
        (
            pod(terminationGracePeriodSeconds=-1),
            ["spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"],
        ),
        (
            pod(topologySpreadConstraints=[{"topologyKey": "zone"}]),
            ["spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod"],
        ),
        (
            pod(annotations={"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}),
            ['metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "appArmorProfile" field instead'],
        ),
        (
            pod(annotations={"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}, securityContext={"appArmorProfile": {"type": "Unconfined"}}),
            [],
        ),
    ],
)
def test_a_pod_is_told_what_it_hardly_means(asked, told):
    assert of_creation(r.PODS, asked) == told


def test_a_template_is_told_the_same_with_its_own_path():
    template = pod(container={"ports": [{"containerPort": 80}, {"containerPort": 80}]})
    at = "spec.template.spec.containers[0].ports"
    assert of_creation(r.DEPLOYMENTS, deployment(template)) == [f"{at}[1]: duplicate port definition with {at}[0]"]
    cron = {"metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": {"template": pod(imagePullSecrets=[{}])}}}}
    assert of_creation(r.CRON_JOBS, cron) == ['spec.jobTemplate.spec.template.spec.imagePullSecrets[0].name: invalid empty name ""']


def test_an_update_is_told_only_when_the_spec_changes_and_not_of_its_name():
    one, more = (deployment(pod(imagePullSecrets=[{}]), "a.b", replicas=count) for count in (1, 2))
    assert of_update(r.DEPLOYMENTS, one, one) == []
    assert of_update(r.DEPLOYMENTS, more, one) == ['spec.template.spec.imagePullSecrets[0].name: invalid empty name ""']
    assert of_update(r.PODS, pod(imagePullSecrets=[{}]), pod()) == [], "programs change pods, people their controllers"


@pytest.mark.parametrize(
    ("resource", "asked", "told"),
    [
        (
            r.SERVICES,
            {"spec": {"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP"}},
            "spec.SessionAffinity is ignored for headless services",
        ),
        (r.SERVICES, {"spec": {"type": "ClusterIP", "externalName": "x"}}, 'spec.externalName is ignored when spec.type is not "ExternalName"'),
        (
            r.INGRESSES,
            {"metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx"}}, "spec": {}},
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
        ),
        (
            r.STATEFUL_SETS,
            {"spec": {"template": pod(), "revisionHistoryLimit": -1}},
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
        ),
        (r.JOBS, {"metadata": {"name": "a.b"}, "spec": {"template": pod()}}, f"metadata.name: this is used in Pod names and hostnames, {NOT_A_LABEL}"),
        (
            r.STORAGE_CLASSES,
            {"allowedTopologies": [{"matchLabelExpressions": [{"key": "failure-domain.beta.kubernetes.io/zone"}]}]},
            "allowedTopologies[0].matchLabelExpressions[0].key: failure-domain.beta.kubernetes.io/zone is "
            'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
        ),
        (
            r.PERSISTENT_VOLUME_CLAIMS,
            {"spec": {"resources": {"requests": {"storage": "100m"}}}},
            'spec.resources.requests[storage]: fractional byte value "100m" is invalid, must be an integer',
        ),
        (r.NODES, {"spec": {"externalID": "x"}}, "spec.externalID: this field is deprecated, and is unused by Kubernetes"),
        (
            r.VALIDATING_ADMISSION_POLICY_BINDINGS,
            {"spec": {"validationActions": ["Audit"]}},
            "spec.validationActions: Audit is stored, and written nowhere: there is no audit log",
        ),
        (r.HORIZONTAL_POD_AUTOSCALERS, {}, "horizontal pod autoscalers are stored, and no controller scales by them"),
    ],
)
def test_other_kinds(resource, asked, told):
    assert told in of_creation(resource, {"metadata": {"name": "x"}, **asked})


def test_what_the_job_controller_ignores_is_told():
    spec = {"template": pod(), "backoffLimitPerIndex": 1, "podReplacementPolicy": "Failed"}
    fields = ["backoffLimitPerIndex", "podReplacementPolicy"]
    assert of_creation(r.JOBS, {"metadata": {"name": "j"}, "spec": spec}) == [f"spec.{name}: stored, and ignored by the job controller" for name in fields]
    cron = {"metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": spec}}}
    assert [text.partition(":")[0] for text in of_creation(r.CRON_JOBS, cron)] == [f"spec.jobTemplate.spec.{name}" for name in fields]


def test_deprecated_kinds_and_the_finalizers_of_custom_resources():
    assert deprecation(r.ENDPOINTS) == "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    assert deprecation(r.PODS) == ""
    named, known = ({"metadata": {"finalizers": names}} for names in (["orphan", "a.b/c", "x.y"], ["x.y"]))
    assert [text.partition(": prefer")[0] for text in of_custom(named, None)] == ['metadata.finalizers: "x.y"']
    assert of_custom(named, known) == []
