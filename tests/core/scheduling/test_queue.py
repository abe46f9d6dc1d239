from k8sfromscratch.core.scheduling.pod import read_pod
from k8sfromscratch.core.scheduling.queue import MAX_UNSCHEDULABLE_S, Queue, backoff_s

FIT = frozenset({"NodeResourcesFit"})
TAINT = frozenset({"TaintToleration"})


def pod(name: str, priority: int = 0, uid: str = "", **spec):
    return read_pod({"metadata": {"namespace": "d", "name": name, "uid": uid or name}, "spec": {"containers": [], "priority": priority, **spec}})


def names(queue: Queue, now: float) -> list[str]:
    found = []
    while (waiting := queue.pop(now)) is not None:
        found.append(waiting.pod.name)
    return found


def test_higher_priority_first_then_the_order_of_arrival() -> None:
    queue = Queue()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        queue.add(pod(name, priority), 1.0)
    assert names(queue, 1.0) == ["b", "d", "a", "c"]


def test_a_failed_pod_waits_for_a_change_that_may_help_it() -> None:
    queue = Queue()
    queue.add(pod("a"), 0.0)
    queue.pop(0.0)
    queue.failed("d/a", TAINT, 0.0)
    queue.move("node-freed", 0.5)
    assert names(queue, 100.0) == []
    queue.move("node", 100.0)
    assert names(queue, 100.0) == ["a"]


def test_a_change_helps_only_after_the_backoff() -> None:
    queue = Queue()
    queue.add(pod("a"), 0.0)
    queue.pop(0.0)
    queue.failed("d/a", FIT, 0.0)
    queue.move("node-freed", 0.2)
    assert names(queue, 0.5) == []
    assert queue.next_wake() == 1.0
    assert names(queue, 1.0) == ["a"]


def test_a_change_while_a_pod_is_in_flight_is_not_lost() -> None:
    queue = Queue()
    queue.add(pod("a"), 0.0)
    queue.pop(0.0)
    queue.move("node-freed", 0.1)
    queue.failed("d/a", FIT, 0.2)
    assert queue.unschedulable == set()
    assert names(queue, 2.0) == ["a"]


def test_nothing_waits_for_ever() -> None:
    queue = Queue()
    queue.add(pod("a"), 0.0)
    queue.pop(0.0)
    queue.failed("d/a", FIT, 0.0)
    assert queue.next_wake() == MAX_UNSCHEDULABLE_S
    assert names(queue, MAX_UNSCHEDULABLE_S) == ["a"]


def test_backoff_doubles_up_to_ten_seconds() -> None:
    assert [backoff_s(n) for n in (1, 2, 3, 4, 5, 50)] == [1, 2, 4, 8, 10, 10]


def test_gated_pods_wait_for_their_gates() -> None:
    queue = Queue()
    queue.add(pod("a", schedulingGates=[{"name": "g"}]), 0.0)
    queue.move("all", 1.0)
    assert names(queue, 1000.0) == []
    queue.add(pod("a"), 1000.0)
    assert names(queue, 1000.0) == ["a"]


def test_a_removed_pod_does_not_come_out_and_a_namesake_does() -> None:
    queue = Queue()
    queue.add(pod("a", uid="1"), 0.0)
    queue.remove("d/a")
    assert names(queue, 0.0) == []
    queue.add(pod("a", uid="2"), 0.0)
    assert names(queue, 0.0) == ["a"]


def test_counts_for_the_metric_add_up() -> None:
    queue = Queue()
    for name in "abcd":
        queue.add(pod(name), 0.0)
    queue.pop(0.0)
    queue.pop(0.0)
    queue.failed("d/a", FIT, 0.0)
    queue.failed("d/b", frozenset(), 0.0)
    assert queue.pending() == {"active": 2, "backoff": 1, "unschedulable": 1, "gated": 0}
