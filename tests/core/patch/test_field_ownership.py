"""Field trees against plain sets of paths, and the laws of merge and compare."""

from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.core.patch.field_tree import LEAF, difference, intersection, is_tree, path_text, paths, union
from k8sfromscratch.core.patch.managed_fields import UPDATE_MANAGERS_MAX, Manager, after_update
from k8sfromscratch.core.patch.structured_merge import compare, fields_of, merge

_ITEM = {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "string"}}}
_SCHEMA = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": _ITEM, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "atomic": {"type": "array", "items": {"type": "string"}},
        "one": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def unresolved(name):
    raise KeyError(name)


SCHEMA = SchemaNode(_SCHEMA, unresolved)

PATH = st.lists(st.sampled_from(["f:a", "f:b", 'k:{"n":1}']), min_size=1, max_size=3).map(tuple)
PATHS = st.frozensets(PATH, min_size=1, max_size=6)


def tree_of(wanted):
    """Built path by path, to be compared with what the operations make."""
    root = {}
    for path in sorted(wanted, key=len, reverse=True):
        node = root
        for element in path[:-1]:
            node = node.setdefault(element, {})
        if path[-1] in node:
            node[path[-1]]["."] = LEAF
        else:
            node[path[-1]] = {}
    return root


@given(PATHS, PATHS)
def test_trees_are_sets_of_paths(a, b):
    first, second = tree_of(a), tree_of(b)
    assert set(paths(first)) == a
    assert set(paths(union(first, second))) == a | b
    assert set(paths(difference(first, second) or {})) == a - b
    assert set(paths(intersection(first, second) or {})) == a & b


OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "items": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("abc")}, optional={"value": st.sampled_from("12")}), unique_by=lambda item: item["name"], max_size=3
        ),
        "set": st.lists(st.sampled_from("abc"), unique=True, max_size=3),
        "atomic": st.lists(st.sampled_from("ab"), max_size=2),
        "one": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), max_size=2),
        "map": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), max_size=2),
    },
)


@given(OBJECTS, OBJECTS)
def test_what_is_applied_is_there_afterwards(live, applied):
    result = merge(live, applied, SCHEMA)
    changed, removed = compare(result, merge(result, applied, SCHEMA), SCHEMA)
    assert changed is None and removed is None
    for key in applied.keys() & {"atomic", "one"}:
        assert key != "atomic" or result[key] == applied[key]
    assert {item["name"] for item in applied.get("items", [])} <= {item["name"] for item in result.get("items", [])}
    assert set(live.get("set", [])) | set(applied.get("set", [])) == set(result.get("set", []))


@given(OBJECTS, OBJECTS)
def test_comparing_is_of_fields_and_symmetric(old, new):
    changed, removed = compare(old, new, SCHEMA)
    back_changed, back_removed = compare(new, old, SCHEMA)
    assert (changed is None and removed is None) == (back_changed is None and back_removed is None)
    if removed:
        assert set(paths(removed)) <= set(paths(back_changed or {}))
    assert compare(old, old, SCHEMA) == (None, None)


@given(OBJECTS)
def test_the_fields_of_a_value_are_a_tree(value):
    assert is_tree(fields_of(value, SCHEMA))


def test_paths_read_as_upstream_writes_them():
    path = ("f:spec", "f:containers", 'k:{"name":"web"}', "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:name")
    assert path_text(path) == '.spec.containers[name="web"].ports[containerPort=80,protocol="TCP"].name'
    assert path_text(("f:metadata", "f:finalizers", 'v:"a/b"')) == '.metadata.finalizers[="a/b"]'


def test_many_updaters_are_put_together_in_the_end():
    entries, old = [], {}
    for index in range(UPDATE_MANAGERS_MAX + 5):
        new = {**old, "map": {**old.get("map", {}), f"k{index}": "v"}}
        entries = after_update(old, new, entries, Manager(f"m{index}", "Update", "v1"), SCHEMA, f"2026-01-01T00:00:{index:02}Z")
        old = new
    assert len(entries) == UPDATE_MANAGERS_MAX
    assert entries[0].manager.name == "ancient-changes"
    owned = set().union(*(set(paths(entry.fields)) for entry in entries))
    assert {("f:map", f"f:k{index}") for index in range(UPDATE_MANAGERS_MAX + 5)} <= owned
