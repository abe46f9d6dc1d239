"""Pods, from the API to real containers and back: starting, ending, restarting, and a kubelet that goes away meanwhile."""

import asyncio

from k8sfromscratch.api.registry import PODS
from k8sfromscratch.components.kubelet import pod_actions, pods

FOREVER = "trap 'exit 0' TERM; sleep 1000 & wait"
DEAF = "trap '' TERM; echo up; while :; do sleep 0.05; done"


def state(status: dict, name: str = "app") -> dict:
    """Of one container; before it has any, an empty waiting one."""
    listed = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return next((c for c in listed if c["name"] == name), {"state": {}, "restartCount": 0, "ready": False})


def test_a_pod_runs_and_is_deleted(story):
    async def tell(cluster):
        await cluster.create("web", {"name": "app", "command": ["sh", "-c", f"echo hello; {FOREVER}"]})
        status = (await cluster.running("web"))["status"]
        assert status["podIP"].startswith("10.213.78.")
        assert (status["hostIP"], status["qosClass"]) == ("127.0.0.1", "BestEffort")
        assert {c["type"]: c["status"] for c in status["conditions"]} == dict.fromkeys(
            ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"], "True"
        )
        app = state(status)
        assert app["containerID"].startswith("containerd://")
        assert (app["image"], app["restartCount"], app["started"]) == ("docker.io/library/busybox:latest", 0, True)
        await cluster.event("web", "Started")
        assert {reason for reason, _ in await cluster.events("web")} == {"Pulled", "Created", "Started"}
        await cluster.logged("web", "hello\n")
        await cluster.client.delete(PODS, "web", "default")
        await cluster.gone("web")
        assert await cluster.event("web", "Killing") == "Stopping container app"

    story(tell)


def test_a_crashing_container_is_restarted_and_then_waits(story):
    async def tell(cluster):
        await cluster.create("crash", {"name": "app", "command": ["sh", "-c", "echo run; exit 3"]})
        status = (await cluster.pod_where("crash", lambda s: "waiting" in state(s)["state"] and state(s)["restartCount"] == 1))["status"]
        app = state(status)
        assert app["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert (app["lastState"]["terminated"]["exitCode"], app["lastState"]["terminated"]["reason"]) == (3, "Error")
        assert status["phase"] == "Running"
        assert await cluster.log("crash") == "run\nrun\n"

    story(tell)


def test_init_containers_sidecar_and_main_run_in_order(story):
    async def tell(cluster):
        def writes(word: str, then: str = "") -> list[str]:
            return ["sh", "-c", f"echo {word} >>/shared/order; {then}"]

        # The next container comes when this one runs, which need not have come to its first word by then.
        has_written = {"exec": {"command": ["sh", "-c", "until grep -q side /shared/order; do sleep 0.05; done"]}}
        mount = [{"name": "shared", "mountPath": "/shared"}]
        common = {"image": "busybox", "imagePullPolicy": "Never", "volumeMounts": mount}
        await cluster.create(
            "ordered",
            {"name": "app", "command": writes("main", FOREVER), "volumeMounts": mount},
            initContainers=[
                {**common, "name": "first", "command": writes("first")},
                {**common, "name": "side", "command": writes("side", FOREVER), "restartPolicy": "Always", "lifecycle": {"postStart": has_written}},
                {**common, "name": "second", "command": writes("second")},
            ],
            volumes=[{"name": "shared", "emptyDir": {}}],
        )
        status = (await cluster.running("ordered"))["status"]
        assert state(status, "first")["state"]["terminated"]["reason"] == "Completed"
        assert state(status, "side")["ready"]
        written = await cluster.exec("ordered", "sh", "-c", "until grep -q main /shared/order; do sleep 0.05; done; cat /shared/order")
        assert written == "first\nside\nsecond\nmain\n"

    story(tell)


def test_jobs_succeed_fail_or_run_out_of_time(story):
    async def tell(cluster):
        await cluster.create("good", {"name": "app", "command": ["true"]}, restartPolicy="Never")
        await cluster.create("bad", {"name": "app", "command": ["sh", "-c", "exit 5"]}, restartPolicy="Never")
        await cluster.create("late", restartPolicy="Never", activeDeadlineSeconds=1)
        await cluster.ended("good", "Succeeded")
        bad = (await cluster.ended("bad", "Failed"))["status"]
        assert state(bad)["state"]["terminated"]["exitCode"] == 5
        late = (await cluster.ended("late", "Failed"))["status"]
        assert late["reason"] == "DeadlineExceeded"
        good = (await cluster.pod("good"))["status"]
        assert next(c for c in good["conditions"] if c["type"] == "Ready")["reason"] == "PodCompleted"

    story(tell)


def test_a_container_leaves_a_message(story):
    async def tell(cluster):
        await cluster.create(
            "told",
            {"name": "file", "command": ["sh", "-c", "echo -n because >/dev/termination-log; exit 1"]},
            {"name": "log", "command": ["sh", "-c", "echo last words; exit 1"], "terminationMessagePolicy": "FallbackToLogsOnError"},
            restartPolicy="Never",
        )
        status = (await cluster.ended("told", "Failed"))["status"]
        assert state(status, "file")["state"]["terminated"]["message"] == "because"
        assert state(status, "log")["state"]["terminated"]["message"] == "last words\n"

    story(tell)


def test_grace_may_be_shortened_while_it_runs(story):
    async def tell(cluster):
        await cluster.create("deaf", {"name": "app", "command": ["sh", "-c", DEAF]}, terminationGracePeriodSeconds=600)
        await cluster.running("deaf")
        await cluster.client.delete(PODS, "deaf", "default")
        await cluster.event("deaf", "Killing")
        assert (await cluster.pod("deaf"))["metadata"]["deletionGracePeriodSeconds"] == 600
        await cluster.client.delete(PODS, "deaf", "default", grace_period_s=1)
        await cluster.gone("deaf")

    story(tell)


def test_hooks_run_after_the_start_and_before_the_end(story, tmp_path):
    async def tell(cluster):
        def hook(word: str) -> dict:
            return {"exec": {"command": ["sh", "-c", f"echo {word} >>/out/hooks"]}}

        (tmp_path / "out").mkdir()
        await cluster.create(
            "hooked",
            {"name": "app", "lifecycle": {"postStart": hook("started"), "preStop": hook("stopping")}, "volumeMounts": [{"name": "out", "mountPath": "/out"}]},
            {"name": "bad", "lifecycle": {"postStart": {"exec": {"command": ["false"]}}}},
            volumes=[{"name": "out", "hostPath": {"path": str(tmp_path / "out"), "type": "Directory"}}],
            terminationGracePeriodSeconds=10,  # which is the hook's time too
        )
        assert "PostStartHook failed" in await cluster.event("hooked", "FailedPostStartHook")
        await cluster.client.delete(PODS, "hooked", "default")
        await cluster.gone("hooked")
        assert (tmp_path / "out" / "hooks").read_text() == "started\nstopping\n"

    story(tell)


def test_a_kubelet_that_restarts_takes_over_what_runs(story):
    async def tell(cluster):
        await cluster.create("stays", {"name": "app", "readinessProbe": {"exec": {"command": ["true"]}, "initialDelaySeconds": 0}})
        await cluster.create("goes")
        before = (await cluster.running("stays"))["status"]
        await cluster.running("goes")
        await cluster.stop_kubelet()
        await cluster.client.delete(PODS, "goes", "default", grace_period_s=0)
        await cluster.start_kubelet()

        async def orphan_is_gone() -> bool:
            return {owner.name for owner, _ in await cluster.runtime.list_sandboxes()} == {"stays"}

        await cluster.until(orphan_is_gone)
        after = (await cluster.pod("stays"))["status"]
        assert after["containerStatuses"] == before["containerStatuses"]
        assert after["conditions"] == before["conditions"]

    story(tell)


def test_a_process_that_dies_unseen_is_restarted_by_the_next_kubelet(story):
    async def tell(cluster):
        await cluster.create("web", {"name": "app", "command": ["sh", "-c", "touch /tmp/x; echo up; while [ -e /tmp/x ]; do sleep 0.05; done"]})
        await cluster.running("web")
        await cluster.logged("web", "up\n")
        await cluster.stop_kubelet()
        await cluster.exec("web", "rm", "/tmp/x")
        await cluster.start_kubelet()
        await cluster.pod_where("web", lambda s: state(s)["restartCount"] == 1 and state(s)["ready"])

    story(tell)


def test_a_sandbox_that_died_is_made_anew(story):
    async def tell(cluster):
        await cluster.create("web")
        first = (await cluster.running("web"))["status"]
        ((_, sandbox),) = await cluster.runtime.list_sandboxes()
        await cluster.runtime.stop_sandbox(sandbox.id)
        second = (await cluster.pod_where("web", lambda s: s["podIP"] != first["podIP"] and state(s)["ready"]))["status"]
        # Its containers end before it does: a kubelet that looks in between tries one in vain in the old sandbox.
        assert state(second)["restartCount"] >= 1

    story(tell)


def test_a_worker_that_stumbles_is_replaced_and_no_other_notices(story, monkeypatch):
    monkeypatch.setattr(pods, "REPLACE_S", 0.1)
    real = pod_actions.PodActions.start_container
    stumbled = []

    async def stumble_once(self, pod, sandbox, action):
        if pod["metadata"]["name"] == "odd" and not stumbled:
            stumbled.append(action)
            raise ZeroDivisionError("nobody foresaw this")
        return await real(self, pod, sandbox, action)

    monkeypatch.setattr(pod_actions.PodActions, "start_container", stumble_once)

    async def tell(cluster):
        await cluster.create("even")
        await cluster.create("odd")
        await cluster.running("even")
        await cluster.running("odd")
        assert stumbled
        assert await cluster.event("odd", "FailedSync") == "error syncing pod: nobody foresaw this"

    story(tell)


def test_a_runtime_that_restarts_costs_no_container(story, containerd):
    async def tell(cluster):
        await cluster.create("web")
        before = (await cluster.running("web"))["status"]
        await asyncio.to_thread(containerd.restart)
        await cluster.create("later")
        await cluster.running("later")
        assert (await cluster.pod("web"))["status"]["containerStatuses"] == before["containerStatuses"]
        assert await cluster.exec("web", "echo", "alive") == "alive\n"

    story(tell)
