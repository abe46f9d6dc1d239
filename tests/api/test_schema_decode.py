"""Decoding of bodies: what passes, what is pruned, what is refused, and in which words."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.api import schema
from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.api.registry import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, LEASES, PODS, RESOURCES, SECRETS
from k8sfromscratch.api.resource import Resource

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {"containers": [{"name": "web", "image": "nginx:1", "ports": [{"containerPort": 80}], "resources": {"requests": {"cpu": "100m"}}}]},
}


def body(value: Any) -> bytes:
    return orjson.dumps(value)


def refusal(value: Any, resource: Resource = PODS, **options: Any) -> str:
    with pytest.raises(BadRequest) as refused:
        schema.decode(resource, value if isinstance(value, bytes) else body(value), **options)
    return refused.value.message


def test_a_good_object_passes_unchanged() -> None:
    assert schema.decode(PODS, body(POD), field_validation="Strict") == (POD, [])


def test_what_the_path_says_may_be_left_out() -> None:
    obj, _ = schema.decode(PODS, b'{"metadata":{"name":"web"}}')
    assert list(obj)[:2] == ["apiVersion", "kind"]
    assert (obj["apiVersion"], obj["kind"]) == ("v1", "Pod")


def test_the_given_object_is_not_changed() -> None:
    given_obj = json.loads(json.dumps({**POD, "zoo": 1, "status": None}))
    before = json.dumps(given_obj)
    schema.check(PODS, given_obj)
    assert json.dumps(given_obj) == before


def test_quantities_times_and_bytes_are_normalized() -> None:
    pod = {
        "metadata": {"creationTimestamp": "2026-01-02T03:04:05+02:00"},
        "spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi", "x/y": 2}}}]},
    }
    obj, _ = schema.decode(PODS, body(pod))
    assert obj["metadata"]["creationTimestamp"] == "2026-01-02T01:04:05Z"
    assert obj["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi", "x/y": "2"}
    lease, _ = schema.decode(LEASES, body({"spec": {"renewTime": "2026-01-02T03:04:05.1Z"}}))
    assert lease["spec"]["renewTime"] == "2026-01-02T03:04:05.100000Z"


def test_null_means_absent() -> None:
    obj, warnings = schema.decode(
        PODS, body({"metadata": {"creationTimestamp": None, "labels": {"a": None}}, "spec": {"nodeName": None, "containers": [None]}, "status": None})
    )
    assert obj == {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": ""}}, "spec": {"containers": [{}]}}
    assert warnings == []


def test_free_form_json_keeps_its_nulls() -> None:
    managed = {"metadata": {"managedFields": [{"fieldsV1": {"f:a": {"x": None}}}], "creationTimestamp": None}}
    obj, _ = schema.decode(CONFIG_MAPS, body(managed))
    assert obj["metadata"] == {"managedFields": [{"fieldsV1": {"f:a": {"x": None}}}]}


# -- unknown and doubled fields

UNKNOWN = b'{"spec":{"foo":1,"containers":[{"name":"a","bar":2,"name":"b"}]},"zoo":{"x":1}}'
FAULTS = ['unknown field "spec.foo"', 'unknown field "spec.containers[0].bar"', 'unknown field "zoo"', 'duplicate field "spec.containers[0].name"']


def test_strict_refuses_unknown_and_doubled_fields_in_the_order_of_the_document() -> None:
    assert refusal(UNKNOWN, field_validation="Strict") == f'Pod in version "v1" cannot be handled as a Pod: strict decoding error: {", ".join(FAULTS)}'


def test_warn_prunes_and_tells() -> None:
    obj, warnings = schema.decode(PODS, UNKNOWN, field_validation="Warn")
    assert obj == {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "b"}]}}
    assert warnings == FAULTS


def test_ignore_prunes_in_silence() -> None:
    obj, warnings = schema.decode(PODS, UNKNOWN, field_validation="Ignore")
    assert obj["spec"] == {"containers": [{"name": "b"}]}
    assert warnings == []


def test_doubled_keys_are_seen_however_the_body_is_written() -> None:
    for text in ('{"data":{"a":"1","a":"2"}}', ' { "data" : { "a" : "1" , "a" : "2" } } ', '{"data":{"a":"1","\\u0061":"2"}}'):
        assert schema.decode(CONFIG_MAPS, text.encode())[1] == ['duplicate field "data.a"']
    assert schema.decode(CONFIG_MAPS, b'{"data": {"a": "\\u0061", "b": "{\\"a\\": 1, \\"a\\": 2}"}}')[1] == []


keys = st.sampled_from(["a", "b", "é"])
json_texts = st.recursive(
    st.sampled_from(["1", '"x"', "true", "null", '"a:b"']),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(keys, inner), max_size=3).map(lambda pairs: "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"),
    ),
    max_leaves=8,
)


@given(json_texts)
def test_doubled_keys_are_found_as_a_plain_reader_finds_them(text: str) -> None:
    from k8sfromscratch.api import json_body

    doubled = False

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal doubled
        doubled = doubled or len({key for key, _ in pairs}) < len(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=collect)
    value, found = json_body.parse(text.encode())
    assert value == json.loads(text)
    # A doubled key inside a value that another doubled key replaces is gone with it, but then that other one is found.
    assert bool(found) == doubled


# -- wrong types


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"spec": {"containers": "x"}}, "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container"),
        (
            {"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}},
            "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            {"spec": {"containers": [{"env": [{"value": 1}]}]}},
            "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        ({"metadata": {"labels": {"a": True}}}, "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string"),
        ({"metadata": {"labels": []}}, "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string"),
        ({"spec": []}, "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec"),
        ({"spec": {"hostNetwork": "true"}}, "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool"),
        ({"spec": {"priority": 2**31}}, "json: cannot unmarshal number 2147483648 into Go struct field PodSpec.spec.priority of type int32"),
        ({"spec": {"priority": 1.5}}, "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32"),
        (
            {"spec": {"activeDeadlineSeconds": 2**63}},
            "json: cannot unmarshal number 9223372036854775808 into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64",
        ),
        ({"spec": {"containers": [{"livenessProbe": {"httpGet": {"port": []}}}]}}, "json: cannot unmarshal array into Go value of type int32"),
        ({"metadata": {"creationTimestamp": 1}}, "json: cannot unmarshal number into Go value of type string"),
        ({"metadata": {"creationTimestamp": "now"}}, 'parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006"'),
        ({"metadata": {"creationTimestamp": "2026-13-01T00:00:00Z"}}, 'parsing time "2026-13-01T00:00:00Z": value out of range'),
        (
            {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_a_wrong_type_is_told_as_upstream_tells_it(obj: dict, message: str) -> None:
    assert refusal(obj) == f'Pod in version "v1" cannot be handled as a Pod: {message}'


def test_the_first_fault_of_the_document_is_told_and_no_unknown_field() -> None:
    assert "spec.nodeName" in refusal({"zoo": 1, "spec": {"nodeName": 1, "containers": 2}}, field_validation="Strict")


def test_base64_is_checked() -> None:
    assert refusal({"data": {"a": "??"}}, SECRETS) == 'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 0'
    assert schema.decode(SECRETS, body({"data": {"a": "aGVsbG8="}}))[0]["data"] == {"a": "aGVsbG8="}


# -- wrong kinds and broken bodies


def test_kind_and_version_must_be_those_of_the_path() -> None:
    assert refusal({"apiVersion": "apps/v2"}, DEPLOYMENTS) == "the API version in the data (apps/v2) does not match the expected API version (apps/v1)"
    assert refusal({"kind": "Service"}) == 'Service in version "v1" cannot be handled as a Pod: converting (v1.Service) to (v1.Pod): unknown conversion'
    assert 'no kind "Sock" is registered' in refusal({"kind": "Sock"})


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[]", b"1", b"\xff", b'{"a":NaN}', b'{"a":1e400}', b'{"a":' * 300 + b"1" + b"}" * 300, b"[" * 100_000, b'{"kind":1}', b'{"a":"\\ud800"}'],
    ids=lambda value: repr(value[:12]),
)
def test_what_is_no_object_is_refused(broken: bytes) -> None:
    assert refusal(broken).startswith("the object provided is unrecognized (must be of type Pod): ")


def test_a_schema_that_refers_to_itself() -> None:
    deep: dict = {"type": "string"}
    for _ in range(20):
        deep = {"type": "object", "properties": {"a": deep}}
    crd = {"spec": {"versions": [{"schema": {"openAPIV3Schema": deep}}]}}
    obj, warnings = schema.decode(CUSTOM_RESOURCE_DEFINITIONS, body(crd))
    assert obj["spec"] == crd["spec"]
    assert warnings == []


def test_bodies_that_are_no_resources() -> None:
    scale, _ = schema.decode(("autoscaling/v1", "Scale"), b'{"spec":{"replicas":3}}')
    assert scale == {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 3}}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.group_resource + "/" + resource.version)
def test_every_kind_compiles_and_takes_metadata(resource: Resource) -> None:
    obj, warnings = schema.check(resource, {"metadata": {"name": "x", "creationTimestamp": None}, "no_such_field": 1})
    assert obj == {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "x"}}
    assert warnings == ['unknown field "no_such_field"']


def test_merge_keys_by_path() -> None:
    pod_spec = schema.field_schema(DEPLOYMENTS).properties["spec"].properties["template"].properties["spec"]
    containers = pod_spec.properties["containers"]
    assert (containers.patch_merge_key, containers.patch_strategy) == ("name", ("merge",))
    assert (containers.list_type, containers.list_map_keys) == ("map", ("name",))
    ports = containers.child(0).properties["ports"]  # type: ignore[union-attr]
    assert (ports.patch_merge_key, ports.list_map_keys) == ("containerPort", ("containerPort", "protocol"))
    assert pod_spec.properties["volumes"].patch_strategy == ("merge", "retainKeys")
    assert schema.field_schema(DEPLOYMENTS).properties["spec"].properties["strategy"].patch_strategy == ("retainKeys",)
    assert pod_spec.properties["nodeSelector"].map_type == "atomic"
    labels = schema.field_schema(PODS).properties["metadata"].properties["labels"]
    assert labels.additional is not None
    assert labels.additional.type == "string"
