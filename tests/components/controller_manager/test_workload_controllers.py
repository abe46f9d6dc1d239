"""Workloads driven through the real apiserver: what users do, and what comes of it."""

import asyncio

import pytest

from k8sfromscratch.api.registry import (
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)


async def rolled_out(cluster, name="web"):
    d = await cluster.get(DEPLOYMENTS, name)
    status, wanted = d["status"], d["spec"]["replicas"]
    done = all(status.get(field, 0) == wanted for field in ("replicas", "updatedReplicas", "availableReplicas"))
    return d if done and status.get("observedGeneration") == d["metadata"]["generation"] else None


def test_a_deployment_gets_its_pods_and_says_so(play, make_workload):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(3))
        d = await cluster.until(lambda: rolled_out(cluster))
        assert {c["type"]: c["reason"] for c in d["status"]["conditions"]} == {
            "Progressing": "NewReplicaSetAvailable",
            "Available": "MinimumReplicasAvailable",
        }
        assert d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
        assert len(await cluster.ready_pods()) == 3
        await cluster.until(lambda: cluster.reasons("web"))
        assert set(await cluster.reasons("web")) >= {"ScalingReplicaSet", "SuccessfulCreate"}
        version = (await cluster.get(DEPLOYMENTS, "web"))["metadata"]["resourceVersion"]
        await asyncio.sleep(3600)
        assert (await cluster.get(DEPLOYMENTS, "web"))["metadata"]["resourceVersion"] == version, "a settled deployment is written no more"

    play(story)


def test_scaling_up_and_down(play, make_workload):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(1))
        for replicas in (5, 2, 0, 3):
            await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": replicas}}, "default")
            await cluster.until(lambda: rolled_out(cluster))
            assert len(await cluster.every(PODS)) == replicas

    play(story)


def test_a_replication_controller_keeps_its_pods_and_takes_orphans(play, make_workload):
    """Older than ReplicaSets, with labels for a selector, and served still."""

    async def story(cluster):
        await cluster.apply(PODS, "orphan", {"containers": [{"name": "c", "image": "i"}]}, metadata={"labels": {"app": "web"}})
        template = make_workload(1)["template"]
        await cluster.apply(REPLICATION_CONTROLLERS, "old", {"replicas": 3, "selector": {"app": "web"}, "template": template})
        await cluster.until(lambda: settled(cluster, 3))
        assert "orphan" in {pod["metadata"]["name"] for pod in await cluster.every(PODS)}
        await cluster.client.patch(REPLICATION_CONTROLLERS, "old", {"spec": {"replicas": 1}}, "default")
        await cluster.until(lambda: settled(cluster, 1))

    async def settled(cluster, count):
        status = (await cluster.get(REPLICATION_CONTROLLERS, "old"))["status"]
        return all(status.get(field) == count for field in ("replicas", "availableReplicas")) and len(await cluster.every(PODS)) == count

    play(story)


def test_a_rolling_update_and_its_undoing(play, make_workload):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(4))
        await cluster.until(lambda: rolled_out(cluster))
        lowest = 4
        for image, revision in (("i:2", "2"), ("i:1", "3")):
            template = make_workload(4, image=image)["template"]
            await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"template": template}}, "default")

            async def watched():
                nonlocal lowest
                lowest = min(lowest, len(await cluster.ready_pods()))
                assert len([p for p in await cluster.every(PODS) if not p["metadata"].get("deletionTimestamp")]) <= 5
                return await rolled_out(cluster)

            d = await cluster.until(watched)
            assert {p["spec"]["containers"][0]["image"] for p in await cluster.ready_pods()} == {image}
            assert d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision
        assert lowest >= 3, "maxUnavailable is 25%"
        assert len(await cluster.every(REPLICA_SETS)) == 2, "going back uses the old set again"

    play(story)


def test_a_deleted_pod_is_replaced_and_a_relabelled_one_is_released(play, make_workload):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(2))
        await cluster.until(lambda: rolled_out(cluster))
        first, second = sorted(p["metadata"]["name"] for p in await cluster.every(PODS))
        await cluster.client.delete(PODS, first, "default")
        await cluster.client.patch(PODS, second, {"metadata": {"labels": {"app": "debug"}}}, "default")
        await cluster.until(lambda: two_new(cluster, {first, second}))
        released = await cluster.get(PODS, second)
        assert not released["metadata"].get("ownerReferences"), "it is nobody's now, and stays"

    async def two_new(cluster, before):
        names = {p["metadata"]["name"] for p in await cluster.ready_pods()}
        return len(names) == 2 and not names & before

    play(story)


def test_an_orphan_that_matches_is_adopted(play, make_workload):
    async def story(cluster):
        await cluster.apply(PODS, "loner", {"containers": [{"name": "c", "image": "i"}]}, metadata={"labels": {"app": "web"}})
        await cluster.apply(REPLICA_SETS, "web", make_workload(1))
        await cluster.until(lambda: adopted(cluster))
        await asyncio.sleep(10)
        assert [p["metadata"]["name"] for p in await cluster.every(PODS)] == ["loner"]

    async def adopted(cluster):
        return (await cluster.get(PODS, "loner"))["metadata"].get("ownerReferences")

    play(story)


def test_recreate_never_runs_two_templates_together(play, make_workload):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(3, strategy={"type": "Recreate"}))
        await cluster.until(lambda: rolled_out(cluster))
        await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"template": make_workload(3, image="i:2")["template"]}}, "default")

        async def alone():
            images = {p["spec"]["containers"][0]["image"] for p in await cluster.every(PODS)}
            assert len(images) <= 1
            return images == {"i:2"} and await rolled_out(cluster)

        await cluster.until(alone)

    play(story)


def test_a_rollout_without_progress_is_reported_by_its_deadline(play, make_workload):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(1, progressDeadlineSeconds=30, pod_spec={"nodeSelector": {"no": "such"}}))
        await cluster.until(lambda: timed_out(cluster), timeout_s=40)

    async def timed_out(cluster):
        conditions = (await cluster.get(DEPLOYMENTS, "web")).get("status", {}).get("conditions", ())
        return [c for c in conditions if c.get("reason") == "ProgressDeadlineExceeded"]

    play(story)


def test_paused_rollouts_wait(play, make_workload):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(2))
        await cluster.until(lambda: rolled_out(cluster))
        await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"paused": True, "template": make_workload(2, image="i:2")["template"]}}, "default")
        await asyncio.sleep(30)
        assert {p["spec"]["containers"][0]["image"] for p in await cluster.ready_pods()} == {"i:1"}
        await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}}, "default")
        await cluster.until(lambda: rolled_out(cluster))
        assert {p["spec"]["containers"][0]["image"] for p in await cluster.ready_pods()} == {"i:2"}

    play(story)


def test_refused_creations_show_in_status_and_events_and_are_tried_ever_more_slowly(play, make_workload):
    async def story(cluster):
        refused = make_workload(3, pod_spec={"priorityClassName": "there-is-none"})
        await cluster.apply(REPLICA_SETS, "web", refused)
        await asyncio.sleep(60)
        (condition,) = (await cluster.get(REPLICA_SETS, "web"))["status"]["conditions"]
        assert (condition["type"], condition["reason"]) == ("ReplicaFailure", "FailedCreate") and "there-is-none" in condition["message"]
        tries = [r for r in await cluster.reasons("web") if r == "FailedCreate"]
        assert 5 < len(tries) < 20, "the first of the three is refused, at 5 ms, 10 ms, 20 ms, … "

    play(story)


def test_a_daemon_set_follows_the_nodes(play, make_workload):
    async def story(cluster):
        await cluster.apply(DAEMON_SETS, "agent", make_workload(app="agent"))
        await cluster.until(lambda: on_nodes(cluster, {"n1-1", "n2-1"}))
        cluster.power_on("n3")
        await cluster.until(lambda: on_nodes(cluster, {"n1-1", "n2-1", "n3-1"}))
        await cluster.client.patch(DAEMON_SETS, "agent", {"spec": {"template": make_workload(image="i:2", app="agent")["template"]}}, "default")
        await cluster.until(lambda: images(cluster, "app=agent", {"i:2"}))
        await cluster.until(lambda: on_nodes(cluster, {"n1-1", "n2-1", "n3-1"}))
        status = (await cluster.get(DAEMON_SETS, "agent"))["status"]
        assert (status["desiredNumberScheduled"], status["numberAvailable"], status["updatedNumberScheduled"]) == (3, 3, 3)
        assert sorted(r["revision"] for r in await cluster.every(CONTROLLER_REVISIONS)) == [1, 2]

    async def on_nodes(cluster, wanted):
        status = (await cluster.get(DAEMON_SETS, "agent"))["status"]
        pods = await cluster.ready_pods("app=agent")
        return {p["spec"]["nodeName"] for p in pods} == wanted and len(pods) == len(wanted) == status.get("numberAvailable")

    play(story)


async def images(cluster, labels, wanted):
    pods = await cluster.ready_pods(labels)
    return pods and {p["spec"]["containers"][0]["image"] for p in pods} == wanted


def test_a_stateful_set_keeps_names_and_claims(play, make_workload):
    async def story(cluster):
        claims = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]
        spec = {**make_workload(2, app="db"), "serviceName": "db"}
        await cluster.apply(STATEFUL_SETS, "plain", spec)
        await cluster.until(lambda: names(cluster, ["plain-0", "plain-1"]))
        await cluster.client.delete(PODS, "plain-0", "default")
        await cluster.until(lambda: names(cluster, ["plain-0", "plain-1"]))
        await cluster.client.patch(STATEFUL_SETS, "plain", {"spec": {"template": make_workload(image="i:2", app="db")["template"]}}, "default")
        await cluster.until(lambda: images(cluster, "app=db", {"i:2"}))
        await cluster.apply(STATEFUL_SETS, "kept", {**make_workload(1, app="kept"), "serviceName": "kept", "volumeClaimTemplates": claims})
        await cluster.until(lambda: cluster.get(PERSISTENT_VOLUME_CLAIMS, "data-kept-0"))

    async def names(cluster, wanted):
        return sorted(p["metadata"]["name"] for p in await cluster.ready_pods("app=db")) == wanted

    play(story)


def test_a_job_runs_to_its_end_and_is_cleaned_up(play, make_workload):
    async def story(cluster):
        template = {
            "metadata": {"annotations": {"k8sfromscratch.io/simulated-run-s": "3"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
        }
        await cluster.apply(JOBS, "work", {"completions": 4, "parallelism": 2, "ttlSecondsAfterFinished": 60, "template": template})
        job = await cluster.until(lambda: complete(cluster))
        assert job["status"]["succeeded"] == 4 and job["status"]["completionTime"]
        assert "Completed" in await cluster.reasons("work")
        await cluster.until(lambda: gone(cluster), timeout_s=120)

    async def complete(cluster):
        job = await cluster.get(JOBS, "work")
        done = any(c["type"] == "Complete" for c in job["status"].get("conditions", ()))
        return job if done and "Completed" in await cluster.reasons("work") else None

    async def gone(cluster):
        return await cluster.get(JOBS, "work") is None and not await cluster.every(PODS)

    play(story)


@pytest.mark.parametrize(("policy", "left"), [("Background", 0), ("Foreground", 0), ("Orphan", 1)])
def test_a_job_deleted_while_it_runs_leaves_no_pod_behind(play, make_workload, policy, left):
    async def story(cluster):
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
        await cluster.apply(JOBS, "work", {"template": template})
        await cluster.until(lambda: running(cluster))
        await cluster.client.delete(JOBS, "work", "default", propagation_policy=policy)
        await asyncio.sleep(60)
        pods = await cluster.every(PODS)
        assert await cluster.get(JOBS, "work") is None and len(pods) == left
        assert not any(p["metadata"].get("finalizers") for p in pods)

    async def running(cluster):
        return [p for p in await cluster.every(PODS) if p["status"]["phase"] == "Running"]

    play(story)


def test_a_cron_job_runs_on_time_and_keeps_a_short_history(play):
    async def story(cluster):
        pod = {
            "metadata": {"annotations": {"k8sfromscratch.io/simulated-run-s": "3"}},
            "spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i"}]},
        }
        spec = {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": pod}}, "successfulJobsHistoryLimit": 2}
        await cluster.apply(CRON_JOBS, "tick", spec)
        await asyncio.sleep(3590)
        jobs = await cluster.every(JOBS)
        status = (await cluster.get(CRON_JOBS, "tick"))["status"]
        assert len(jobs) == 2 and all(job["status"]["succeeded"] == 1 for job in jobs)
        reasons = await cluster.reasons("tick")
        assert (reasons.count("SuccessfulCreate"), reasons.count("SawCompletedJob"), reasons.count("SuccessfulDelete")) == (11 + 11, 11, 9)
        assert status["lastScheduleTime"] == max(job["metadata"]["creationTimestamp"] for job in jobs) and "active" not in status

    play(story)


def test_the_same_seed_gives_the_same_history(play, make_workload):
    histories = []

    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(3))
        await cluster.until(lambda: rolled_out(cluster))
        await cluster.client.delete(DEPLOYMENTS, "web", "default")
        await asyncio.sleep(30)
        await cluster.apply(DEPLOYMENTS, "web", make_workload(2))
        await cluster.until(lambda: rolled_out(cluster))
        histories.append((await cluster.every(PODS), await cluster.every(NODES), await cluster.get(DEPLOYMENTS, "web")))

    play(story, seed=7)
    play(story, seed=7)
    assert histories[0] == histories[1]
