from k8sfromscratch.core.pods.runtime_state import Ending, Health, Waiting
from k8sfromscratch.core.pods.status import Report, pod_status, status_patch
from k8sfromscratch.testing.pod_machine import START, PodMachine, make_pod


def conditions(status: dict) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status["conditions"]}


def test_before_anything_runs():
    status = PodMachine(make_pod("app", init=("one",))).status()
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert conditions(status) == {
        "PodReadyToStartContainers": "False",
        "Initialized": "False",
        "Ready": "False",
        "ContainersReady": "False",
        "PodScheduled": "True",
    }
    assert "podIP" not in status
    assert status["hostIP"] == "10.0.0.1"


def test_a_running_pod():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    status = machine.status()
    assert (status["phase"], status["podIP"], status["podIPs"], status["qosClass"]) == ("Running", "10.1.0.2", [{"ip": "10.1.0.2"}], "BestEffort")
    assert set(conditions(status).values()) == {"True"}
    (app,) = status["containerStatuses"]
    assert (app["ready"], app["started"], app["restartCount"], app["containerID"]) == (True, True, 0, "containerd://app-0")
    assert app["state"] == {"running": {"startedAt": "2026-01-02T03:04:05Z"}}


def test_a_pod_on_the_hosts_network_has_the_hosts_address():
    machine = PodMachine(make_pod("app", hostNetwork=True))
    machine.settle()
    assert machine.status()["podIP"] == "10.0.0.1"


def test_readiness_follows_probes_and_gates():
    machine = PodMachine(make_pod("app", readinessGates=[{"conditionType": "example.com/gate"}]))
    machine.settle()
    machine.health["app-0"] = Health(started=True, ready=False)
    status = machine.status()
    assert conditions(status)["ContainersReady"] == "False"
    unready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert unready["message"] == "containers with unready status: [app]"
    machine.health["app-0"] = Health()
    assert conditions(machine.status())["ContainersReady"] == "True"
    assert conditions(machine.status())["Ready"] == "False"
    machine.pod["status"] = {"conditions": [{"type": "example.com/gate", "status": "True"}]}
    assert conditions(machine.status())["Ready"] == "True"


def test_a_crash_loop_shows_why_and_what_was_before():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    machine.end("app", 3)
    assert machine.status()["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    machine.settle()
    machine.end("app", 4)
    status = machine.status()
    (app,) = status["containerStatuses"]
    assert app["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert app["state"]["waiting"]["message"] == "back-off 10s restarting failed container=app pod=web_default(u1)"
    assert app["lastState"]["terminated"]["exitCode"] == 4
    assert (app["restartCount"], status["phase"]) == (1, "Running")


def test_killed_by_a_signal():
    machine = PodMachine(make_pod("app", restartPolicy="Never"))
    machine.settle()
    machine.end("app", 137)
    machine.settle()
    terminated = machine.status()["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["signal"], terminated["reason"]) == (9, "Error")


def test_phases_of_jobs():
    for codes, phase in (((0, 0), "Succeeded"), ((0, 1), "Failed")):
        machine = PodMachine(make_pod("a", "b", restartPolicy="Never"))
        machine.settle()
        machine.end("a", codes[0])
        assert machine.status()["phase"] == "Running"
        machine.end("b", codes[1])
        machine.settle()
        status = machine.status()
        assert status["phase"] == phase
        ready = next(c for c in status["conditions"] if c["type"] == "Ready")
        assert ready["reason"] == {"Succeeded": "PodCompleted", "Failed": "PodFailed"}[phase]


def test_an_image_that_cannot_be_had():
    report = Report(PodMachine(make_pod("app")).runtime, waiting={"app": Waiting("ErrImagePull", "no such host")})
    (app,) = pod_status(make_pod("app"), report, START)["containerStatuses"]
    assert app["state"] == {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}


def test_a_pod_that_ended_before_its_containers_were_seen():
    machine = PodMachine(make_pod("app"))
    machine.delete()
    machine.settle()
    status = machine.status()
    assert status["phase"] == "Failed"
    assert status["containerStatuses"][0]["state"]["terminated"]["reason"] == "ContainerStatusUnknown"


def test_an_ending_is_failed_only_when_all_has_ended():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    ending = Ending("Evicted", "low on memory")
    machine.publish()
    assert pod_status(machine.pod, Report(machine.runtime, ending=ending), START)["phase"] == "Running"
    machine.end("app", 0)
    assert pod_status(machine.pod, Report(machine.runtime, ending=ending), START)["phase"] == "Running"
    failed = pod_status(machine.pod, Report(machine.runtime, ending=ending, ended=True), START)
    assert (failed["phase"], failed["reason"], failed["message"]) == ("Failed", "Evicted", "low on memory")


def test_transition_times_stay_while_nothing_changes():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    first = machine.publish()
    machine.sleep(60)
    assert machine.status()["conditions"] == first["conditions"]
    machine.health["app-0"] = Health(ready=False)
    changed = {c["type"]: c["lastTransitionTime"] for c in machine.status()["conditions"]}
    assert changed["Ready"] == "2026-01-02T03:05:05Z"
    assert changed["Initialized"] == "2026-01-02T03:04:05Z"


def test_init_containers_are_ready_when_done_and_sidecars_when_they_run():
    machine = PodMachine(make_pod("app", init=({"name": "side", "restartPolicy": "Always"}, "one")))
    machine.settle()
    machine.end("one")
    machine.settle()
    side, one = machine.status()["initContainerStatuses"]
    assert (side["ready"], side["started"], one["ready"], one["started"]) == (True, True, True, False)


def test_the_patch_holds_only_what_differs():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    status = machine.status()
    machine.pod["status"] = {
        **status,
        "conditions": [*status["conditions"], {"type": "example.com/gate", "status": "True"}],
        "podIPs": [{"ip": "10.9.9.9"}],
        "startTime": status["startTime"],
    }
    assert status_patch(machine.pod, status) == {"status": {"podIPs": [{"$patch": "replace"}, {"ip": "10.1.0.2"}]}}
    machine.publish()
    assert status_patch(machine.pod, machine.status()) is None


def test_the_patch_ignores_what_the_api_leaves_out():
    machine = PodMachine(make_pod("app"))
    machine.settle()
    status = machine.publish()
    for entry in status["containerStatuses"]:
        entry.pop("lastState")
    for condition in status["conditions"]:
        condition.pop("lastProbeTime")
    assert status_patch(machine.pod, PodMachine.status(machine)) is None


def test_what_a_condition_no_longer_says_is_taken_away():
    machine = PodMachine(make_pod("app"))
    machine.publish()
    machine.settle()
    patch = status_patch(machine.pod, machine.status())
    ready = next(c for c in patch["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"], ready["message"]) == ("True", None, None)


def test_a_container_that_will_not_be_tried_again_does_not_wait():
    machine = PodMachine(make_pod("app", restartPolicy="Never"))
    machine.settle()
    machine.end("app", 128)
    report = Report(machine.runtime, waiting={"app": Waiting("RunContainerError", "no such program")})
    status = pod_status(machine.pod, report, START)
    assert (status["phase"], list(status["containerStatuses"][0]["state"])) == ("Failed", ["terminated"])
