"""ValidatingAdmissionPolicies: what they refuse, warn of, let through, and how wrong ones are told."""

import json

import pytest

from k8sfromscratch.core.admission.chain import chain

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
WRITTEN = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}
SMALL = {"expression": "object.data.size() < 3"}


def policy(*validations, **spec):
    return {"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [WRITTEN]}, "validations": list(validations), **spec}}


def binding(*actions, name="b", **spec):
    return {"metadata": {"name": name}, "spec": {"policyName": "p", "validationActions": list(actions or ("Deny",)), **spec}}


async def configured(api, one, *bindings):
    await api.json("POST", POLICIES, one, status=201)
    for each in bindings or (binding(),):
        await api.json("POST", BINDINGS, each, status=201)
    await api.server.feed.caught_up()


async def create(api, name="a", status=201, **data):
    return await api.json("POST", CONFIG_MAPS, api.config_map(name, **data), status=status)


def test_a_request_that_does_not_hold_is_refused_in_upstreams_words(with_api):
    async def main(api):
        await configured(api, policy(SMALL))
        await create(api, "small", k="1")
        refused = await create(api, "big", 422, a="1", b="2", c="3")
        said = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.data.size() < 3"
        assert (refused["message"], refused["reason"]) == (f'configmaps "big" is forbidden: {said}', "Invalid")
        assert refused["details"] == {"name": "big", "kind": "configmaps", "causes": [{"message": said}]}
        changed = {"data": {"b": "2", "c": "3"}}
        await api.json("PATCH", f"{CONFIG_MAPS}/small", changed, headers={"content-type": "application/merge-patch+json"}, status=422)
        await api.json("DELETE", f"{BINDINGS}/b", status=200)
        await api.server.feed.caught_up()
        await create(api, "big", a="1", b="2", c="3")

    with_api(main)


@pytest.mark.parametrize(
    ("validation", "code", "said"),
    [
        ({"expression": "false", "message": " too bad "}, 422, "too bad"),
        ({"expression": "false", "messageExpression": "'no ' + object.metadata.name", "message": "unused"}, 422, "no a"),
        ({"expression": "false", "messageExpression": "object.nope", "message": "instead"}, 422, "instead"),
        ({"expression": "false", "reason": "Forbidden"}, 403, "failed expression: false"),
        ({"expression": "object.nope == 1"}, 422, "expression 'object.nope == 1' resulted in error: no such key: nope"),
    ],
)
def test_what_a_denial_says(with_api, validation, code, said):
    async def main(api):
        await configured(api, policy(validation))
        refused = await create(api, status=code)
        assert refused["message"].endswith(f"denied request: {said}")

    with_api(main)


def test_a_warning_is_no_refusal_and_who_ignores_failures_lets_through_what_cannot_be_told(with_api):
    async def main(api):
        await configured(
            api, policy({"expression": "false", "message": "careful"}, {"expression": "object.nope"}, failurePolicy="Ignore"), binding("Warn", "Audit")
        )
        answer = await api.request("POST", CONFIG_MAPS, api.config_map("a"))
        assert answer.status == 201
        assert answer.headers["Warning"] == "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': careful\""

    with_api(main)


def test_variables_and_everything_an_expression_may_ask_for(with_api):
    async def main(api):
        variables = [
            {"name": "keys", "expression": "object.data.map(k, k)"},
            {"name": "broken", "expression": "object.nope"},
            {"name": "allowed", "expression": "variables.keys.all(k, k.startsWith('a'))"},
        ]
        asked = "variables.allowed && request.operation == 'CREATE' && namespaceObject.metadata.name == 'default' && oldObject == null"
        await configured(api, policy({"expression": asked}, {"expression": "object.metadata.name != 'ask' || variables.broken"}, variables=variables))
        await create(api, "fine", a="1", ab="2")
        await create(api, "wrong", 422, b="1")
        refused = await create(api, "ask", 422, a="1")
        assert refused["message"].endswith('composited variable "broken" fails to evaluate: no such key: nope')

    with_api(main)


@pytest.mark.parametrize(
    ("constraints", "spec", "where", "refused"),
    [
        ({}, {}, {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}, False),
        ({}, {}, {"objectSelector": {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}}, True),
        ({"excludeResourceRules": [{**WRITTEN, "resourceNames": ["a"]}]}, {}, {}, False),
        ({"excludeResourceRules": [{**WRITTEN, "resourceNames": ["b"]}]}, {}, {}, True),
        ({}, {"matchConditions": [{"name": "named", "expression": "object.metadata.name == 'b'"}]}, {}, False),
        ({}, {"matchConditions": [{"name": "untold", "expression": "object.nope"}]}, {}, True),
        ({}, {"matchConditions": [{"name": "untold", "expression": "object.nope"}], "failurePolicy": "Ignore"}, {}, False),
    ],
)
def test_whom_a_policy_concerns(with_api, constraints, spec, where, refused):
    async def main(api):
        rules = {"resourceRules": [WRITTEN], **constraints}
        await configured(api, policy({"expression": "false"}, matchConstraints=rules, **spec), binding(**({"matchResources": where} if where else {})))
        await create(api, status=422 if refused else 201)

    with_api(main)


def test_parameters_are_the_bindings(with_api):
    async def main(api):
        await create(api, "limits", most="2")
        limited = policy({"expression": "object.data.size() <= int(params.data.most)"}, paramKind={"apiVersion": "v1", "kind": "ConfigMap"})
        limited["spec"]["matchConstraints"]["excludeResourceRules"] = [{**WRITTEN, "resourceNames": ["limits"]}]
        await configured(api, limited, binding(paramRef={"name": "limits", "parameterNotFoundAction": "Deny"}))
        await create(api, "two", a="1", b="2")
        await create(api, "three", 422, a="1", b="2", c="3")
        await api.json("DELETE", f"{CONFIG_MAPS}/limits", status=200)
        await api.server.feed.caught_up()
        refused = await create(api, "one", 422, a="1")
        assert refused["message"].endswith("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction")
        allowing = {"spec": {"paramRef": {"parameterNotFoundAction": "Allow"}}}
        await api.json("PATCH", f"{BINDINGS}/b", allowing, headers={"content-type": "application/merge-patch+json"}, status=200)
        await api.server.feed.caught_up()
        await create(api, "one", a="1")

    with_api(main)


def test_policies_do_not_guard_themselves(with_api):
    async def main(api):
        everything = {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]}
        await configured(api, policy({"expression": "false"}, matchConstraints=everything))
        await create(api, status=422)
        await api.json("DELETE", f"{POLICIES}/p", status=200)
        await api.server.feed.caught_up()
        await create(api)

    with_api(main)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"validations": [{"expression": "object.x ="}]}, ["spec.validations[0].expression"]),
        ({"validations": [{"expression": "'text'"}]}, ["spec.validations[0].expression"]),
        ({"validations": [{"expression": "params == null"}]}, ["spec.validations[0].expression"]),
        ({"validations": [{"expression": "authorizer.path('/').check('get').allowed()"}]}, ["spec.validations[0].expression"]),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, ["spec.validations[0].messageExpression"]),
        ({"variables": [{"name": "v", "expression": "("}]}, ["spec.variables[0].expression"]),
        ({"variables": [{"name": "no-name", "expression": "1"}]}, ["spec.variables[0].name"]),
        ({"validations": []}, ["spec.validations", "spec.auditAnnotations"]),
        ({"matchConstraints": None}, ["spec.matchConstraints"]),
        ({"matchConstraints": {}}, ["spec.matchConstraints.resourceRules"]),
        ({"paramKind": {"kind": "X"}}, ["spec.paramKind.apiVersion"]),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(with_api, changes, fields):
    async def main(api):
        refused = await api.json("POST", POLICIES, policy(SMALL, **changes), status=422)
        assert [cause["field"] for cause in refused["details"]["causes"]] == fields, json.dumps(refused)

    with_api(main)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"validationActions": []}, ["spec.validationActions"]),
        ({"validationActions": ["Deny", "Warn"]}, ["spec.validationActions"]),
        ({"validationActions": ["Shout"]}, ["spec.validationActions[0]"]),
        ({"policyName": ""}, ["spec.policyName"]),
        ({"paramRef": {"name": "x"}}, ["spec.paramRef.parameterNotFoundAction"]),
        ({"paramRef": {"parameterNotFoundAction": "Deny"}}, ["spec.paramRef.name", "spec.paramRef.selector"]),
    ],
)
def test_a_binding_that_makes_no_sense_is_refused(with_api, changes, fields):
    async def main(api):
        refused = await api.json("POST", BINDINGS, {**binding(), "spec": {**binding()["spec"], **changes}}, status=422)
        assert [cause["field"] for cause in refused["details"]["causes"]] == fields

    with_api(main)


def test_the_plugin_has_upstreams_name_among_the_flags():
    assert chain(lambda: "x", enable=("ValidatingAdmissionPolicy",)).names == chain(lambda: "x", disable=("ValidatingAdmissionPolicy",)).names
