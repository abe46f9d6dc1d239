"""The pod state machine, as stories."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8sfromscratch.core.pods.plan import StopContainer
from k8sfromscratch.core.pods.runtime_state import Health
from k8sfromscratch.testing.pod_machine import START, PodMachine, make_pod


def test_a_pod_starts_with_its_sandbox_then_all_containers():
    machine = PodMachine(make_pod("a", "b"))
    assert machine.settle() == ["sandbox 0", "start a", "start b"]
    assert machine.settle() == []


def test_init_containers_run_one_after_another_before_the_others():
    machine = PodMachine(make_pod("app", init=("one", "two")))
    assert machine.settle() == ["sandbox 0", "start one"]
    machine.end("one")
    assert machine.settle() == ["start two"]
    machine.end("two")
    assert machine.settle() == ["start app"]


def test_a_failed_init_container_is_retried_unless_the_policy_forbids_it():
    machine = PodMachine(make_pod("app", init=("one",)))
    machine.settle()
    machine.end("one", 1)
    assert machine.settle() == ["start one #1"]
    never = PodMachine(make_pod("app", init=("one",), restartPolicy="Never"))
    never.settle()
    never.end("one", 1)
    assert never.settle() == ["stop sandbox s0"]
    assert never.status()["phase"] == "Failed"


def test_init_containers_do_not_run_again_when_a_container_restarts():
    machine = PodMachine(make_pod("app", init=("one",)))
    machine.settle()
    machine.end("one")
    machine.settle()
    machine.end("app", 1)
    assert machine.settle() == ["start app #1"]


def test_a_sidecar_starts_in_order_stays_and_ends_last():
    machine = PodMachine(make_pod("app", init=({"name": "proxy", "restartPolicy": "Always"}, "one")))
    assert machine.settle() == ["sandbox 0", "start proxy", "start one"]
    machine.end("one")
    assert machine.settle() == ["start app"]
    machine.end("proxy", 1)
    assert machine.settle() == ["start proxy #1"]
    machine.delete(grace_s=20)
    machine.sleep(5)
    assert machine.settle() == ["stop app 20s", "stop proxy 20s", "stop sandbox s0"]


def test_what_follows_waits_for_a_sidecars_startup_probe():
    machine = PodMachine(make_pod("app", init=({"name": "proxy", "restartPolicy": "Always"},)))
    machine.health["proxy-0"] = Health(started=False, ready=False)
    assert machine.settle() == ["sandbox 0", "start proxy"]
    machine.health["proxy-0"] = Health()
    assert machine.settle() == ["start app"]


def test_sidecars_end_when_the_work_is_done():
    machine = PodMachine(make_pod("job", init=({"name": "proxy", "restartPolicy": "Always"},), restartPolicy="Never"))
    machine.settle()
    machine.end("job")
    assert machine.settle() == ["stop proxy 30s", "stop sandbox s0"]
    assert machine.status()["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("policy", "exit_code", "restarted"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 0, False), ("Never", 1, False)],
)
def test_restart_policy(policy, exit_code, restarted):
    machine = PodMachine(make_pod("app", restartPolicy=policy))
    machine.settle()
    machine.end("app", exit_code)
    assert ("start app #1" in machine.settle()) is restarted


def test_a_crashing_container_waits_ten_seconds_then_twenty_up_to_five_minutes():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    machine.end("app", 1)
    machine.settle()
    waits = []
    for _ in range(8):
        machine.end("app", 1)
        step = machine.plan()
        assert step.actions == ()
        assert step.waiting["app"].reason == "CrashLoopBackOff"
        waits.append((step.wake_at - machine.now).total_seconds())
        machine.now = step.wake_at
        machine.settle()
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_container_that_ran_long_enough_starts_over():
    machine = PodMachine(make_pod("app"))
    for _ in range(4):
        machine.sleep(301)
        machine.settle()
        machine.end("app", 1)
    machine.sleep(601)
    machine.settle()
    machine.sleep(601)
    machine.end("app", 1)
    assert machine.settle()[0].startswith("start app")


def test_a_failed_probe_restarts_the_container_with_the_probes_grace():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    machine.health["app-0"] = Health(True, False, "Container app failed liveness probe, will be restarted", 7)
    assert machine.settle() == ["stop app 7s", "start app #1"]


def test_a_new_image_replaces_the_container():
    machine = PodMachine(make_pod("app", "other"))
    machine.settle()
    machine.pod["spec"]["containers"][0]["image"] = "app:2"
    assert machine.settle() == ["stop app 30s", "start app #1"]


def test_after_a_reboot_a_new_sandbox_is_made_and_all_starts_again():
    machine = PodMachine(make_pod("app", init=("one",)))
    machine.settle()
    machine.end("one")
    machine.settle()
    machine.lose_sandbox()
    assert machine.settle() == ["stop sandbox s0", "sandbox 1", "start one #1"]
    machine.end("one")
    assert machine.settle() == ["start app #1"]


def test_when_only_the_sandbox_died_its_containers_are_stopped_first():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    running = machine.runtime
    machine.lose_sandbox()
    machine.runtime = type(running)(machine.runtime.sandboxes, running.containers)
    assert machine.settle() == ["stop app 30s", "stop sandbox s0", "sandbox 1", "start app #1"]


def test_a_pod_that_never_restarts_gets_no_second_sandbox():
    machine = PodMachine(make_pod("app", restartPolicy="Never"))
    machine.settle()
    machine.lose_sandbox()
    assert machine.settle() == ["stop sandbox s0"]
    assert machine.status()["phase"] == "Failed"


def test_deleting_stops_containers_together_and_keeps_them_for_logs():
    machine = PodMachine(make_pod("a", "b"))
    machine.settle()
    machine.delete(grace_s=5)
    assert machine.settle() == ["stop a 5s", "stop b 5s", "stop sandbox s0"]
    assert machine.plan().ended
    assert [c.name for c in machine.runtime.containers] == ["a", "b"]


def test_a_stop_is_not_repeated_unless_the_grace_is_shortened():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    machine.obeys_sigterm = False
    machine.delete(grace_s=60)
    assert machine.settle() == ["stop app 60s"]
    machine.sleep(10)
    assert machine.settle() == []
    machine.delete(grace_s=12)
    assert machine.settle() == ["stop app 2s"]


def test_a_pod_gone_from_the_api_is_ended_and_removed():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    machine.gone = True
    assert machine.settle() == ["stop app 30s", "stop sandbox s0", "remove s0"]
    assert machine.plan().ended


def test_a_pod_over_its_deadline_fails():
    machine = PodMachine(make_pod("app", activeDeadlineSeconds=100))
    machine.settle()
    machine.publish()
    assert machine.plan().wake_at == START + timedelta(seconds=100)
    machine.sleep(100)
    machine.settle()
    status = machine.status()
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_terminal_phase_is_final():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    machine.pod["status"] = {"phase": "Failed"}
    assert machine.settle() == ["stop app 30s", "stop sandbox s0"]
    assert machine.status()["phase"] == "Failed"


def test_only_the_current_and_the_previous_container_are_kept():
    machine = PodMachine(make_pod("app"))
    for _ in range(5):
        machine.settle()
        machine.end("app", 1)
        machine.sleep(1000)
    machine.settle()
    assert sorted(c.attempt for c in machine.runtime.history("app")) == [4, 5]


def test_an_old_sandbox_goes_when_it_is_empty():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    machine.lose_sandbox()
    machine.settle()
    machine.sleep(1000)
    machine.end("app", 1)
    assert "remove s0" in machine.settle()
    assert [s.id for s in machine.runtime.sandboxes] == ["s1"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("end"), st.sampled_from(["side", "init", "a", "b"]), st.sampled_from([0, 1])),
        st.tuples(st.just("sleep"), st.integers(1, 400)),
        st.tuples(st.just("reboot")),
        st.tuples(st.just("delete"), st.integers(1, 30)),
        st.tuples(st.just("gone")),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(policy=st.sampled_from(["Always", "OnFailure", "Never"]), steps=STEPS)
def test_whatever_happens_a_pod_comes_to_rest_and_a_deleted_one_ends(policy, steps):
    """Invariants: no plan repeats itself for ever; one running container a name; a phase that ended never lives again;
    at the end, a deleted pod has nothing running, and one that is gone has nothing at all."""
    machine = PodMachine(make_pod("a", "b", init=({"name": "side", "restartPolicy": "Always"}, "init"), restartPolicy=policy))
    ended_as = None
    for step in steps:
        machine.settle()
        assert len(machine.running()) == len(set(machine.running()))
        phase = machine.publish()["phase"]
        if ended_as:
            assert phase == ended_as
        if phase in ("Succeeded", "Failed"):
            ended_as = phase
            assert machine.running() == []
        match step:
            case ("end", name, code):
                current = machine.runtime.latest(name)
                if current is not None and current.alive:
                    machine.end(name, code)
            case ("sleep", seconds):
                machine.sleep(seconds)
            case ("reboot",):
                machine.lose_sandbox()
            case ("delete", grace_s):
                machine.delete(grace_s)
            case ("gone",):
                machine.gone = True
    machine.delete()
    machine.settle()
    assert machine.running() == []
    assert not any(isinstance(a, StopContainer) for a in machine.plan().actions)
    machine.gone = True
    machine.settle()
    assert machine.runtime.containers == machine.runtime.sandboxes == ()
