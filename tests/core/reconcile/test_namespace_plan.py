"""Namespaces: emptied, then let go; and what a new one is given."""

from k8sfromscratch.api.registry import CONFIG_MAPS, DEPLOYMENTS, PODS
from k8sfromscratch.core.reconcile import clusterrole_aggregation, namespace, serviceaccount, ttl_after_finished
from k8sfromscratch.core.reconcile.namespace import Content
from k8sfromscratch.core.reconcile.plan import Create, Delete, DeleteCollection, Update


def space(make, *, deleted_s=10.0, finalizers=("kubernetes",), **meta):
    metadata = make.meta("team", None, deletionTimestamp=make.at(-deleted_s), **meta)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": {"finalizers": list(finalizers)}, "status": {"phase": "Terminating"}}


def plan(make, obj, contents=(), undiscovered=()):
    return namespace.plan(obj, contents, undiscovered, make.now, settle_s=2)


def test_a_live_namespace_is_left_alone(make):
    live = {"apiVersion": "v1", "kind": "Namespace", "metadata": make.meta("team", None), "spec": {"finalizers": ["kubernetes"]}}
    assert plan(make, live).steps == ()


def test_pods_are_deleted_first_and_alone(make):
    contents = [Content(CONFIG_MAPS, [make.pod("c")]), Content(PODS, [make.pod("p")]), Content(DEPLOYMENTS, [])]
    result = plan(make, space(make), contents)
    (together,) = result.steps
    assert [s.resource for s in together.steps] == [PODS] and isinstance(together.steps[0], DeleteCollection)
    assert result.requeue_after_s == 0


def test_then_everything_else_that_is_there(make):
    contents = [Content(CONFIG_MAPS, [make.pod("c")]), Content(PODS, []), Content(DEPLOYMENTS, [make.pod("d")])]
    (together,) = plan(make, space(make), contents).steps
    assert [s.resource for s in together.steps] == [CONFIG_MAPS, DEPLOYMENTS]


def test_says_what_it_waits_for(make):
    stuck = make.pod("c", deletionTimestamp=make.at(-5), finalizers=["example.com/hold"])
    result = plan(make, space(make), [Content(CONFIG_MAPS, [stuck])])
    assert result.steps == () and result.requeue_after_s == namespace.RETRY_S
    (update,) = result.conclude(())
    conditions = {c["type"]: c for c in update.object["status"]["conditions"]}
    assert conditions["NamespaceContentRemaining"]["message"] == "Some resources are remaining: configmaps. has 1 resource instances"
    assert (
        conditions["NamespaceFinalizersRemaining"]["message"]
        == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    )
    assert conditions["NamespaceDeletionDiscoveryFailure"]["status"] == "False"
    again = plan(make, update.object, [Content(CONFIG_MAPS, [stuck])])
    assert again.conclude(()) == ()


def test_waits_for_half_of_the_longest_grace_left(make):
    going = make.pod("p", deletionTimestamp=make.at(20))
    assert plan(make, space(make), [Content(PODS, [going])]).requeue_after_s == 10


def test_is_not_let_go_while_a_group_cannot_be_asked(make):
    result = plan(make, space(make), [], ["metrics.k8s.io/v1beta1: 503"])
    assert result.steps == ()
    (update,) = result.conclude(())
    assert "metrics.k8s.io/v1beta1: 503" in update.object["status"]["conditions"][0]["message"]


def test_an_empty_namespace_is_let_go_when_it_has_settled(make):
    early = plan(make, space(make, deleted_s=1))
    assert early.steps == () and early.requeue_after_s == 1
    (finalize,) = plan(make, space(make, finalizers=("kubernetes", "mine"))).steps
    assert isinstance(finalize, Update) and finalize.subresource == "finalize" and finalize.object["spec"]["finalizers"] == ["mine"]
    (delete,) = plan(make, space(make, finalizers=())).steps
    assert isinstance(delete, Delete)
    assert plan(make, space(make, finalizers=("mine",))).steps == ()


def test_a_namespace_gets_its_default_account_and_the_root_ca(make):
    active = {"metadata": make.meta("team", None), "status": {"phase": "Active"}}
    (create,) = serviceaccount.plan_default_account(active, None).steps
    assert isinstance(create, Create) and create.object["metadata"] == {"name": "default", "namespace": "team"}
    assert serviceaccount.plan_default_account(active, {"metadata": make.meta("default")}).steps == ()
    assert serviceaccount.plan_default_account(space(make), None).steps == ()
    (create,) = serviceaccount.plan_root_ca(active, None, "PEM").steps
    assert create.object["data"] == {"ca.crt": "PEM"} and create.object["metadata"]["name"] == "kube-root-ca.crt"
    published = {**create.object, "metadata": {**create.object["metadata"], "resourceVersion": "5"}}
    assert serviceaccount.plan_root_ca(active, published, "PEM").steps == ()
    (update,) = serviceaccount.plan_root_ca(active, {**published, "data": {"ca.crt": "other", "x": "y"}}, "PEM").steps
    assert update.object["data"] == {"ca.crt": "PEM"}


def role(make, name, rules, *, labels=None, selectors=None):
    body = {"metadata": make.meta(name, None, labels=labels or {}), "rules": rules}
    return {**body, "aggregationRule": {"clusterRoleSelectors": selectors}} if selectors else body


def test_aggregated_roles_hold_each_rule_once(make):
    read, write = {"verbs": ["get"], "resources": ["a"]}, {"verbs": ["update"], "resources": ["a"]}
    selectors = [{"matchLabels": {"to": "view"}}, {"matchLabels": {"to": "edit"}}]
    parts = [role(make, "b", [write, read], labels={"to": "edit"}), role(make, "a", [read], labels={"to": "view"}), role(make, "c", [write])]
    sum_role = role(make, "sum", [], selectors=selectors)
    (patch,) = clusterrole_aggregation.plan(sum_role, [*parts, sum_role]).steps
    assert patch.patch["rules"] == [read, write]
    assert clusterrole_aggregation.plan({**sum_role, "rules": [read, write]}, parts).steps == ()
    assert clusterrole_aggregation.plan(parts[0], parts).steps == ()


def test_finished_jobs_go_when_their_time_is_over(make):
    done = {"type": "Complete", "status": "True", "lastTransitionTime": make.at(-60)}
    job = {"metadata": make.meta("j"), "spec": {"ttlSecondsAfterFinished": 100}, "status": {"conditions": [done]}}
    assert ttl_after_finished.plan(job, make.now).requeue_after_s == 40
    (delete,) = ttl_after_finished.plan(job, make.later(40)).steps
    assert isinstance(delete, Delete) and delete.propagation_policy == "Foreground"
    assert ttl_after_finished.plan({**job, "spec": {}}, make.later(900)).steps == ()
    assert ttl_after_finished.plan({**job, "status": {}}, make.later(900)).steps == ()
