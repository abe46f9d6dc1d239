"""A definition and its objects by kubectl: wait, short names, columns, explain, scale, apply, deletion."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

Kubectl = Any

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: shelves.library.example.com
spec:
  group: library.example.com
  scope: Namespaced
  names: {plural: shelves, singular: shelf, kind: Shelf, shortNames: [sh], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.boards, statusReplicasPath: .status.boards}
    additionalPrinterColumns:
    - {name: Boards, type: integer, jsonPath: .spec.boards}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    schema:
      openAPIV3Schema:
        type: object
        description: A shelf for books.
        properties:
          spec:
            type: object
            properties:
              boards: {type: integer, minimum: 1, description: How many boards it has.}
              books:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [title]
                items:
                  type: object
                  required: [title]
                  properties:
                    title: {type: string}
                    pages: {type: integer, default: 100}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
"""
SHELF = """
apiVersion: library.example.com/v1
kind: Shelf
metadata: {name: oak}
spec:
  boards: 3
  books: [{title: Walden, pages: 100}]
"""


@contextmanager
def defined(kubectl: Kubectl) -> Iterator[Kubectl]:
    """With a home of its own: kubectl remembers there for hours what is served, and `get all` would ask other tests' servers for shelves."""
    with tempfile.TemporaryDirectory() as home:
        own = kubectl.but(home=Path(home))
        own("apply", "-f", "-", text=DEFINITION)
        own("wait", "--for=condition=established", "crd/shelves.library.example.com", "--timeout=30s")
        yield own
        own("delete", "crd", "shelves.library.example.com", "--timeout=30s")


@pytest.fixture
def shelves(kubectl: Kubectl) -> Iterator[Kubectl]:
    """The newest kubectl, where Shelves are defined."""
    with defined(kubectl) as own:
        yield own


@pytest.fixture
def shelves_of_release(release: Kubectl) -> Iterator[Kubectl]:
    """Each release there is."""
    with defined(release) as own:
        yield own


def test_the_life_of_a_custom_resource(shelves_of_release: Kubectl) -> None:
    shelves = shelves_of_release
    assert "shelf.library.example.com/oak created" in shelves("apply", "-f", "-", text=SHELF)
    assert "shelf.library.example.com/oak unchanged" in shelves("apply", "-f", "-", text=SHELF)
    rows = [line.split() for line in shelves("get", "sh").splitlines()]
    assert rows[0] == ["NAME", "BOARDS", "READY"]
    assert rows[1][:2] == ["oak", "3"]
    assert "shelf.library.example.com/oak" in shelves("get", "all", "-o", "name")
    assert "boards" in shelves("explain", "shelf.spec") and "How many boards it has." in shelves("explain", "shelves.spec.boards")
    assert "scaled" in shelves("scale", "shelf/oak", "--replicas=5")
    assert shelves("get", "shelf", "oak", "-o", "jsonpath={.spec.boards} {.spec.books[0].pages}") == "5 100"
    status = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
    shelves("patch", "shelf", "oak", "--subresource=status", "--type=merge", "-p", status)
    assert shelves("get", "sh", "--no-headers").split() == ["oak", "5", "True"]
    shelves("label", "shelf", "oak", "room=study")
    assert shelves("get", "shelves", "-l", "room=study", "-o", "name").strip() == "shelf.library.example.com/oak"
    assert "deleted" in shelves("delete", "shelf", "oak")


def test_wrong_objects_are_refused(shelves: Kubectl) -> None:
    wrong = yaml.safe_load(SHELF)
    wrong["spec"]["boards"] = "three"
    said = shelves.fails("apply", "--validate=false", "-f", "-", text=yaml.safe_dump(wrong))
    assert 'spec.boards: Invalid value: "string": spec.boards in body must be of type integer: "string"' in said
    unknown = yaml.safe_load(SHELF)
    unknown["spec"]["colour"] = "red"
    assert "colour" in shelves.fails("apply", "-f", "-", text=yaml.safe_dump(unknown))


def test_server_side_apply_merges_by_keys(shelves: Kubectl) -> None:
    for manager, title in (("ann", "Walden"), ("bob", "Emma")):
        body = yaml.safe_load(SHELF)
        body["spec"] = {"books": [{"title": title}]}
        shelves("apply", "--server-side", f"--field-manager={manager}", "-f", "-", text=yaml.safe_dump(body))
    assert [book["title"] for book in shelves.json("get", "shelf", "oak")["spec"]["books"]] == ["Walden", "Emma"]


def test_controllers_know_custom_resources(live: Kubectl) -> None:
    """A namespace takes its objects along, and an owner those that it owns."""
    with defined(live) as live:
        live("create", "-f", "-", text=SHELF)
        owner = live.json("get", "shelf", "oak")["metadata"]["uid"]
        owned = yaml.safe_load(SHELF)
        reference = {"apiVersion": "library.example.com/v1", "kind": "Shelf", "name": "oak", "uid": owner, "blockOwnerDeletion": True}
        owned["metadata"] = {"name": "board", "ownerReferences": [reference]}
        live("create", "-f", "-", text=yaml.safe_dump(owned))
        live("delete", "shelf", "oak", "--cascade=foreground", "--timeout=60s")
        assert live("get", "shelves", "-o", "name") == ""
        room = live.but(namespace=f"{live.namespace}-room")
        room("create", "namespace", room.namespace)
        room("create", "-f", "-", text=SHELF)
        room("delete", "namespace", room.namespace, "--timeout=60s")
        assert live("get", "shelves", "-A", "-o", "name") == ""
