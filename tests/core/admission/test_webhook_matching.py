"""Which webhook is asked about which request: a table."""

import pytest

from k8sfromscratch.api.errors import NotFound
from k8sfromscratch.api.registry import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    HORIZONTAL_POD_AUTOSCALERS_V1,
    NAMESPACES,
    NODES,
    PODS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.admission.webhooks import Reinvocation, Webhook, asked, match, read
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.testing.views import MemoryView

ANY = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "scope": "*"}


def request(resource=PODS, operation="CREATE", subresource="", labels=None, old_labels=None, namespace="n", name="x", obj=True, old=False):
    def made(labels):
        return {"metadata": {"name": name, **({"labels": labels} if labels else {})}}

    return AdmissionRequest(
        operation,
        resource,
        subresource,
        namespace if resource.namespaced else "",
        name,
        UserInfo("ann"),
        made(labels) if obj else None,
        made(old_labels) if old else None,
    )


def webhook(*rules, **more):
    [compiled] = read([{"metadata": {"name": "c"}, "webhooks": [{"name": "w.example.com", "rules": list(rules), **more}]}])
    return compiled


def rule(**changes):
    return {**ANY, **changes}


VIEW = MemoryView({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"team": "a"}}})


def sent(webhook, request, equivalents=()):
    return match(webhook, request, VIEW, lambda: equivalents)


RULES = [
    (rule(), request(), True),
    (rule(), request(subresource="exec", operation="CONNECT"), True),
    (rule(operations=["UPDATE", "DELETE"]), request(), False),
    (rule(operations=["UPDATE", "DELETE"]), request(operation="DELETE"), True),
    (rule(apiGroups=[""]), request(), True),
    (rule(apiGroups=["apps"]), request(), False),
    (rule(apiGroups=["apps", ""], apiVersions=["v1"]), request(), True),
    (rule(apiVersions=["v1beta1"]), request(), False),
    (rule(resources=["pods"]), request(), True),
    (rule(resources=["pods"]), request(subresource="status"), False),
    (rule(resources=["pods/status"]), request(subresource="status"), True),
    (rule(resources=["pods/status"]), request(), False),
    (rule(resources=["pods/*"]), request(subresource="exec"), True),
    (rule(resources=["pods/*"]), request(), True),
    (rule(resources=["*"]), request(), True),
    (rule(resources=["*"]), request(subresource="exec"), False),
    (rule(resources=["*/scale"]), request(DEPLOYMENTS, subresource="scale"), True),
    (rule(resources=["*/scale"]), request(DEPLOYMENTS), False),
    (rule(scope="Namespaced"), request(), True),
    (rule(scope="Namespaced"), request(NODES), False),
    (rule(scope="Namespaced"), request(NAMESPACES, name="n"), False),
    (rule(scope="Cluster"), request(NAMESPACES, name="n"), True),
    (rule(scope="Cluster"), request(NODES), True),
    (rule(scope="Cluster"), request(), False),
]


@pytest.mark.parametrize(("rule", "request_", "wanted"), RULES, ids=range(len(RULES)))
def test_rules(rule, request_, wanted):
    assert (sent(webhook(rule), request_) is not None) is wanted


SELECTED = [
    ({"objectSelector": {"matchLabels": {"a": "b"}}}, request(labels={"a": "b"}), True),
    ({"objectSelector": {"matchLabels": {"a": "b"}}}, request(labels={"a": "c"}), False),
    ({"objectSelector": {"matchLabels": {"a": "b"}}}, request(labels={"a": "c"}, old=True, old_labels={"a": "b"}), True),
    ({"objectSelector": {"matchLabels": {"a": "b"}}}, request(operation="DELETE", obj=False, old=True, old_labels={"a": "b"}), True),
    ({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}}, request(), True),
    ({"namespaceSelector": {"matchLabels": {"team": "a"}}}, request(), True),
    ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, request(), False),
    ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, request(NODES), True),
    ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, request(NAMESPACES, name="new", labels={"team": "b"}), True),
    ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, request(NAMESPACES, name="new"), False),
    ({"namespaceSelector": {"matchLabels": {"team": "a"}}}, request(NAMESPACES, "DELETE", name="n", obj=False, old=True), True),
]


@pytest.mark.parametrize(("selectors", "request_", "wanted"), SELECTED, ids=range(len(SELECTED)))
def test_selectors(selectors, request_, wanted):
    assert (sent(webhook(ANY, **selectors), request_) is not None) is wanted


def test_a_namespace_that_is_not_there_is_asked_for_only_where_its_labels_matter():
    elsewhere = request(namespace="gone")
    assert sent(webhook(ANY), elsewhere) == PODS
    assert sent(webhook(rule(resources=["nodes"]), namespaceSelector={"matchLabels": {"a": "b"}}), elsewhere) is None
    with pytest.raises(NotFound, match='namespaces "gone" not found'):
        sent(webhook(ANY, namespaceSelector={"matchLabels": {"a": "b"}}), elsewhere)


def test_a_connections_options_have_no_labels():
    connecting = request(operation="CONNECT", subresource="exec")
    connecting.obj = {"kind": "PodExecOptions", "stdin": True}
    assert sent(webhook(ANY), connecting) == PODS
    assert sent(webhook(ANY, objectSelector={"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), connecting) is None


def test_equivalent_versions_are_tried_in_the_order_of_the_rules():
    both = (HORIZONTAL_POD_AUTOSCALERS, HORIZONTAL_POD_AUTOSCALERS_V1)
    v1, v2 = rule(apiVersions=["v1"]), rule(apiVersions=["v2"])
    asking = request(HORIZONTAL_POD_AUTOSCALERS)
    assert sent(webhook(v1), asking, both) == HORIZONTAL_POD_AUTOSCALERS_V1
    assert sent(webhook(v1, v2), asking, both) == HORIZONTAL_POD_AUTOSCALERS
    assert sent(webhook(v1, matchPolicy="Exact"), asking, both) is None
    asking.requested = HORIZONTAL_POD_AUTOSCALERS_V1
    assert sent(webhook(v2, matchPolicy="Exact"), asking, both) is None
    assert sent(webhook(v1, matchPolicy="Exact"), asking, both) == HORIZONTAL_POD_AUTOSCALERS_V1


def test_what_configures_admission_is_never_sent():
    assert not asked(request(VALIDATING_WEBHOOK_CONFIGURATIONS))
    assert asked(request(CONFIG_MAPS))


def test_webhooks_are_called_by_their_configurations_name_then_as_listed():
    def configuration(name, *webhooks):
        return {"metadata": {"name": name}, "webhooks": [{"name": webhook} for webhook in webhooks]}

    ordered = read([configuration("b", "one"), configuration("a", "three", "two")])
    assert [webhook.key for webhook in ordered] == ["a/three", "a/two", "b/one"]


def test_only_those_are_asked_again_that_have_not_seen_the_last_change():
    first, second, third = (Webhook(key, key, {}, reinvoked=key != "third") for key in ("first", "second", "third"))
    rounds = Reinvocation()
    rounds.after(first, changed=True)
    assert rounds.again == set()
    rounds.after(second, changed=False)
    rounds.after(third, changed=True)
    assert rounds.again == {"first", "second"}
    rounds = Reinvocation()
    rounds.after(first, changed=True)
    rounds.others_changed()
    assert rounds.again == {"first"}
