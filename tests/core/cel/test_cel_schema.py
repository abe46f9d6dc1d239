"""Types from schemas, transition rules, host objects, cost."""

import pytest

from k8sfromscratch.core.cel import (
    BOOL,
    DYN,
    INT,
    STRING,
    CelError,
    CelEvaluationError,
    CostExceeded,
    Overload,
    compile_expression,
    escape_property,
    object_of,
    opaque,
    optional_of,
    schema_type,
)  # fmt: skip

SCHEMA = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"},
        "ratio": {"type": "number"},
        "when": {"type": "string", "format": "date-time"},
        "times": {"type": "array", "items": {"type": "string", "format": "date-time"}},
        "wait": {"type": "string", "format": "duration"},
        "raw": {"type": "string", "format": "byte"},
        "port": {"x-kubernetes-int-or-string": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "a-b/c.d": {"type": "string"},
        "in": {"type": "string"},
        "x__y": {"type": "string"},
        "maybe": {"type": "string", "nullable": True},
        "plain": {"type": "string"},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}},
        },
        "template": {"type": "object", "x-kubernetes-embedded-resource": True},
        "open": {"x-kubernetes-preserve-unknown-fields": True},
    },
}
SELF = schema_type(SCHEMA)
OBJECT = {
    "replicas": 3,
    "ratio": 1,
    "when": "2020-01-01T00:00:00Z",
    "times": ["2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"],
    "wait": "90s",
    "raw": "aGk=",
    "port": 80,
    "labels": {"x/y": "z"},
    "a-b/c.d": "dash",
    "in": "kw",
    "x__y": "us",
    "maybe": None,
    "plain": None,
    "set": ["a", "b"],
    "map": [{"k": "a", "v": 1}, {"k": "b", "v": 2}],
    "template": {"kind": "Pod", "metadata": {"name": "n"}},
    "open": {"anything": [1]},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("self.replicas + 1", 4),
        ("self.ratio / 2.0", 0.5),
        ("self.when.getFullYear()", 2020),
        ("self.times.max().getFullYear()", 2021),
        ("self.times.all(t, t < timestamp('2022-01-01T00:00:00Z'))", True),
        ("self.wait > duration('1m')", True),
        ("string(self.raw)", "hi"),
        ("self.port == 80 || self.port == 'http'", True),
        ("self.labels['x/y']", "z"),
        ("self.a__dash__b__slash__c__dot__d", "dash"),
        ("self.__in__", "kw"),
        ("self.x__underscores__y", "us"),
        ("has(self.maybe) && self.maybe == null", True),
        ("has(self.plain)", False),
        ("self.set == ['b', 'a']", True),
        ("(self.set + ['a', 'c']).size()", 3),
        ("(self.map + self.map).size()", 2),
        ("self.template.metadata.name", "n"),
        ("self.open.anything[0]", 1),
    ],
)
def test_fields(text: str, value: object) -> None:
    assert compile_expression(text, {"self": SELF}).evaluate({"self": OBJECT}) == value


@pytest.mark.parametrize("text", ["self.missing", "self.template.spec", "self.map[0].x", "has(self.missing)", "self.replicas == 'a'"])
def test_what_the_schema_does_not_hold_is_refused(text: str) -> None:
    with pytest.raises(CelError, match=r"undefined field|no matching overload"):
        compile_expression(text, {"self": SELF})


def test_lists_of_merge_type_map_compare_without_order() -> None:
    rule = compile_expression("self.map == oldSelf.map", {"self": SELF, "oldSelf": SELF})
    assert rule.evaluate({"self": OBJECT, "oldSelf": {"map": OBJECT["map"][::-1]}}) is True  # type: ignore[index]
    assert rule.evaluate({"self": OBJECT, "oldSelf": {"map": OBJECT["map"][:1]}}) is False  # type: ignore[index]


def test_uses_tells_transition_rules_apart() -> None:
    variables = {"self": SELF, "oldSelf": SELF}
    assert compile_expression("self.replicas >= oldSelf.replicas", variables).uses("oldSelf")
    assert not compile_expression("[1].all(oldSelf, oldSelf > 0)", variables).uses("oldSelf")


def test_an_optional_variable_may_be_left_out() -> None:
    rule = compile_expression("oldSelf.replicas.orValue(0) < self.replicas", {"self": SELF, "oldSelf": optional_of(SELF)})
    assert rule.evaluate({"self": OBJECT}) is True
    assert rule.evaluate({"self": OBJECT, "oldSelf": OBJECT}) is False


def test_a_variable_without_value_and_a_missing_field_are_errors() -> None:
    with pytest.raises(CelEvaluationError, match="no such attribute"):
        compile_expression("self.replicas", {"self": SELF}).evaluate({})
    with pytest.raises(CelEvaluationError, match="no such key: replicas"):
        compile_expression("self.replicas", {"self": SELF}).evaluate({"self": {}})
    with pytest.raises(CelEvaluationError, match="no such overload"):
        compile_expression("self.replicas + 1", {"self": SELF}).evaluate({"self": {"replicas": "text"}})


def test_the_result_must_be_of_the_type_asked_for() -> None:
    with pytest.raises(CelError, match="must evaluate to bool"):
        compile_expression("1", {}, result=BOOL)
    assert compile_expression("dyn(true)", {}, result=BOOL).evaluate({}) is True


def test_host_objects_have_the_methods_their_caller_declares() -> None:
    authorizer, group = opaque("kubernetes.authorization.Authorizer"), opaque("kubernetes.authorization.GroupCheck")
    functions = [
        Overload("group", (authorizer, STRING), group, lambda host, name: (host, name), member=True),
        Overload("check", (group, STRING), BOOL, lambda pair, verb: (pair[1], verb) in pair[0], member=True),
    ]
    rule = compile_expression("authorizer.group('apps').check('get')", {"authorizer": authorizer}, functions=functions)
    assert rule.evaluate({"authorizer": {("apps", "get")}}) is True
    assert rule.evaluate({"authorizer": set()}) is False
    with pytest.raises(CelError, match="no matching overload for 'group'"):
        compile_expression("authorizer.group(1)", {"authorizer": authorizer}, functions=functions)


def test_messages_are_built_of_declared_types() -> None:
    types = {"Object.spec": object_of("Object.spec", {"replicas": INT})}
    assert compile_expression("Object.spec{replicas: 1 + 1}", {}, types=types).evaluate({}) == {"replicas": 2}
    with pytest.raises(CelError, match="undefined field 'x'"):
        compile_expression("Object.spec{x: 1}", {}, types=types)
    with pytest.raises(CelError, match="expected type of field 'replicas' is 'int'"):
        compile_expression("Object.spec{replicas: 'a'}", {}, types=types)


def test_cost_is_bounded_and_not_absorbed() -> None:
    rule = compile_expression("x.all(a, x.all(b, x.all(c, a + b + c >= 0))) || true", {"x": DYN})
    values = {"x": list(range(200))}
    with pytest.raises(CostExceeded, match="actual cost limit exceeded"):
        rule.evaluate(values, cost_limit=100_000)
    assert rule.evaluate({"x": [1]}, cost_limit=100) is True
    assert compile_expression("1 + 1", {}).evaluate_with_cost({}) == (2, 3)


def test_growing_text_costs() -> None:
    text = "x.replace('a', x).replace('a', x).replace('a', x)"
    with pytest.raises(CelEvaluationError):
        compile_expression(text, {"x": STRING}).evaluate({"x": "a" * 10_000}, cost_limit=10_000_000)


def test_escaping() -> None:
    names = ("a", "a-b", "namespace", "__x", "0a", "ä")
    assert [escape_property(name) for name in names] == [
        "a",
        "a__dash__b",
        "__namespace__",
        "__underscores__x",
        None,
        None,
    ]
