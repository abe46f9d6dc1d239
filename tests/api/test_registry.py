"""The table of resources agrees with the schemas, and finds what it holds."""

from k8sfromscratch.api import registry, schema_data


def test_every_resource_has_a_schema_and_a_list() -> None:
    kinds = schema_data.definition_names()
    assert [r for r in registry.RESOURCES if (r.api_version, r.kind) not in kinds] == []
    assert [r for r in registry.RESOURCES if "list" in r.verbs and (r.api_version, r.list_kind) not in kinds] == []


def test_every_listed_kind_of_the_schemas_is_a_resource() -> None:
    kinds = schema_data.definition_names()
    listed = {(version, kind) for version, kind in kinds if (version, f"{kind}List") in kinds}
    named = {kind for kind in listed if "metadata" in schema_data.structures()[kinds[kind]]["properties"]}
    assert named - {(r.api_version, r.kind) for r in registry.RESOURCES} == set()


def test_no_unstable_version_is_served() -> None:
    assert [name for name in schema_data.structures() if "alpha" in name or "beta" in name] == []
    assert {r.version for r in registry.RESOURCES} == {"v1", "v2"}


def test_found_by_path_and_by_kind() -> None:
    assert registry.find("apps", "v1", "deployments") is registry.DEPLOYMENTS
    assert registry.find_kind("v1", "Pod") is registry.PODS
    assert registry.find("apps", "v1", "pods") is None
    assert registry.EVENTS.api_version == "v1"
    assert registry.EVENTS_V1.api_version == "events.k8s.io/v1"


def test_names_are_unique() -> None:
    paths = [(r.group, r.version, r.plural) for r in registry.RESOURCES]
    assert len(paths) == len(set(paths))
    by_word: dict[str, set[str]] = {}
    for resource in registry.RESOURCES:
        for word in (*resource.short_names, resource.plural, resource.singular):
            by_word.setdefault(word, set()).add(resource.plural)
    assert {word: plurals for word, plurals in by_word.items() if len(plurals) > 1} == {}
