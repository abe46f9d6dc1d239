"""The official Python client, unmodified: typed and dynamic, watches, patches, errors."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}},
    },
}


@pytest.fixture(scope="module")
def api(cluster: Any) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(cluster.kubeconfig)) as made:
        yield made


def test_objects_are_made_read_changed_and_deleted(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    made = core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a", labels={"x": "1"}), data={"k": "v"}))
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo is not None
    made.data["k"] = "w"
    replaced = core.replace_namespaced_config_map("a", namespace, made)
    assert replaced.metadata.resource_version != made.metadata.resource_version
    patched = core.patch_namespaced_config_map("a", namespace, {"data": {"more": "1", "k": None}})
    assert patched.data == {"more": "1"}
    assert [item.metadata.name for item in core.list_namespaced_config_map(namespace, label_selector="x in (1)").items] == ["a"]
    status = core.delete_namespaced_config_map("a", namespace)
    assert (status if isinstance(status, dict) else status.to_dict())["status"] == "Success"
    with pytest.raises(ApiException) as refused:
        core.read_namespaced_config_map("a", namespace)
    assert (refused.value.status, refused.value.reason) == (404, "Not Found")
    assert yaml.safe_load(refused.value.body)["message"] == 'configmaps "a" not found'


def test_refusals_carry_their_causes(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_service(namespace, client.V1Service(metadata=client.V1ObjectMeta(name="Bad_Name"), spec=client.V1ServiceSpec(ports=[])))
    status = yaml.safe_load(refused.value.body)
    assert (refused.value.status, status["reason"]) == (422, "Invalid")
    assert {"metadata.name", "spec.ports"} <= {cause["field"] for cause in status["details"]["causes"]}

    core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="twice")))
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="twice")))
    assert (refused.value.status, yaml.safe_load(refused.value.body)["reason"]) == (409, "AlreadyExists")


def test_a_watch_sees_a_deployment_become_ready(api: client.ApiClient, namespace: str) -> None:
    apps = client.AppsV1Api(api)
    created = apps.create_namespaced_deployment(namespace, DEPLOYMENT)
    watcher = watch.Watch()
    ready = 0
    for event in watcher.stream(apps.list_namespaced_deployment, namespace, resource_version=created.metadata.resource_version, timeout_seconds=120):
        assert event["type"] in {"ADDED", "MODIFIED"} and isinstance(event["object"], client.V1Deployment)
        ready = event["object"].status.ready_replicas or 0
        if ready == 2:
            watcher.stop()
    assert ready == 2
    scale = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 1}})
    assert scale.spec.replicas == 1


def test_pages_are_followed_to_the_end(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    for number in range(7):
        core.create_namespaced_secret(namespace, client.V1Secret(metadata=client.V1ObjectMeta(name=f"s{number}"), string_data={"n": str(number)}))
    names, more, pages = [], "", 0
    while pages == 0 or more:
        page = core.list_namespaced_secret(namespace, limit=3, _continue=more or None)
        names += [item.metadata.name for item in page.items]
        more, pages = page.metadata._continue, pages + 1
    assert names == [f"s{number}" for number in range(7)] and pages == 3


def test_every_list_of_the_typed_client_can_be_read(api: client.ApiClient, cluster: Any) -> None:
    """The models refuse an absent required field, so this holds what a new cluster has to the published types."""
    listed, unserved = 0, {}
    for name in sorted(dir(client)):
        # An Event without eventTime, which recorders of the older API make, has null there, upstream too; that model refuses it.
        if not re.search(r"V\d+Api$", name) or name == "EventsV1Api":
            continue
        group = getattr(client, name)(api)
        for method in dir(group):
            if method.startswith("list_") and "namespaced" not in method and not method.endswith(("_with_http_info", "_without_preload_content")):
                try:
                    getattr(group, method)()
                    listed += 1
                except ApiException as error:
                    unserved[f"{name}.{method}"] = error.status
    assert listed > 40
    # What became stable after the release that is served.
    assert set(unserved.values()) <= {404} and len(unserved) <= 8, unserved


def test_the_dynamic_client_discovers_and_applies(api: client.ApiClient, namespace: str) -> None:
    dyn = dynamic.DynamicClient(api)
    deployments = dyn.resources.get(api_version="apps/v1", kind="Deployment")
    applied = deployments.server_side_apply(body=DEPLOYMENT, name="web", namespace=namespace, field_manager="ann")
    assert [entry.manager for entry in applied.metadata.managedFields if entry.operation == "Apply"] == ["ann"]
    with pytest.raises(dynamic.exceptions.ConflictError) as refused:
        changed = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicas": 5}}  # type: ignore[dict-item]
        deployments.server_side_apply(body=changed, name="web", namespace=namespace, field_manager="bob")
    assert ".spec.replicas" in refused.value.body
    assert dyn.resources.get(kind="Pod", api_version="v1").get(namespace=namespace, label_selector="app=none").items == []


def test_manifests_of_several_kinds_are_created_from_yaml(api: client.ApiClient, namespace: str) -> None:
    documents = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "runner"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "reader"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        },
        DEPLOYMENT,
    ]
    utils.create_from_yaml(api, yaml_objects=documents, namespace=namespace)
    assert client.RbacAuthorizationV1Api(api).read_namespaced_role("reader", namespace).rules[0].verbs == ["get"]


def test_a_service_account_token_lets_its_owner_in(api: client.ApiClient, namespace: str, cluster: Any) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_service_account(namespace, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot")))
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("robot", namespace, request).status.token
    settings = client.Configuration()
    settings.host, settings.ssl_ca_cert = api.configuration.host, api.configuration.ssl_ca_cert
    settings.api_key = {"authorization": f"Bearer {token}"}
    with client.ApiClient(settings) as robot:
        who = client.AuthenticationV1Api(robot).create_self_subject_review(client.V1SelfSubjectReview())
        assert who.status.user_info.username == f"system:serviceaccount:{namespace}:robot"
        with pytest.raises(ApiException) as refused:
            client.CoreV1Api(robot).list_namespaced_pod(namespace)
        assert refused.value.status == 403
