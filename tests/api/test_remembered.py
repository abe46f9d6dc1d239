"""What is remembered, what is not, and how much."""

from typing import Any

from k8sfromscratch.api import remembered as module
from k8sfromscratch.api.registry import PODS
from k8sfromscratch.api.remembered import Remembered
from k8sfromscratch.api.validation import validate_create


class Asked:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self, value: Any, detail: Any) -> list[str]:
        self.times += 1
        return [] if value != "bad" else ["bad"]


def test_equal_values_are_asked_about_once() -> None:
    asked = Asked()
    known = Remembered(asked)
    for _ in range(3):
        assert known({"a": [1, "x"]}, "here") == []
    assert asked.times == 1
    known({"a": [1, "x"]}, "there")
    assert asked.times == 2, "the detail counts"


def test_what_json_tells_apart_is_told_apart() -> None:
    asked = Asked()
    known = Remembered(asked)
    for value in (True, 1, 1.0, "1", [1], None):
        known(value, "")
    assert asked.times == 6


def test_only_what_shall_be_kept_is_and_only_so_much_of_it() -> None:
    asked = Asked()
    known = Remembered(asked, keep=lambda result: not result)
    known("bad", "")
    known("bad", "")
    assert asked.times == 2
    known("x" * module.BYTES_MAX, "")
    known("x" * module.BYTES_MAX, "")
    assert asked.times == 4
    for number in range(3 * module.KEPT_MAX):
        known(number, "")
    assert len(known._known) <= module.KEPT_MAX


def test_a_fault_beside_a_known_spec_is_found() -> None:
    """A good spec is remembered for itself: neither its path nor what stands beside it."""

    def pod(name: str, **spec: Any) -> dict[str, Any]:
        containers = [{"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]
        common = {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "containers": containers}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "a"}, "spec": {**common, **spec}}

    assert validate_create(PODS, pod("good")) == validate_create(PODS, pod("good-too")) == []
    assert [cause.field for cause in validate_create(PODS, pod("Bad"))] == ["metadata.name"]
    for _ in range(2):
        assert [cause.field for cause in validate_create(PODS, pod("good", restartPolicy="Sometimes"))] == ["spec.restartPolicy"]
