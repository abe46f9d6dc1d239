"""What admission does to requests, through the real server: what is written, what is warned of, what is refused."""

NAMESPACES, PODS = "/api/v1/namespaces", "/api/v1/namespaces/default/pods"
ENFORCE, WARN = "pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/warn"


def pod(name, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


async def label(api, **labels):
    await api.server.feed.caught_up()
    response = await api.request("PATCH", f"{NAMESPACES}/default", {"metadata": {"labels": labels}}, headers={"content-type": "application/merge-patch+json"})
    await api.server.feed.caught_up()
    return response


def test_limit_ranges_set_defaults_that_decide_the_quality_of_service(with_api):
    async def test(api):
        limits = [{"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "max": {"cpu": "2"}}]
        await api.json("POST", "/api/v1/namespaces/default/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": limits}}, status=201)
        await api.server.feed.caught_up()
        made = await api.json("POST", PODS, pod("p"), status=201)
        container = made["spec"]["containers"][0]
        assert container["resources"] == {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}
        assert made["status"]["qosClass"] == "Guaranteed"
        assert made["metadata"]["annotations"] == {
            "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
        }
        big = pod("big", containers=[{"name": "c", "image": "i", "resources": {"limits": {"cpu": "3"}}}])
        refused = await api.json("POST", PODS, big, status=403)
        assert refused["message"] == 'pods "big" is forbidden: maximum cpu usage per Container is 2, but limit is 3'

    with_api(test)


def test_what_violates_a_standard_is_warned_of_or_refused(with_api):
    async def test(api):
        await label(api, **{WARN: "baseline"})
        warned = await api.request("POST", PODS, pod("a", hostPID=True))
        assert warned.status == 201
        assert warned.headers["Warning"] == '299 - "would violate PodSecurity \\"baseline:latest\\": host namespaces (hostPID=true)"'
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x", hostPID=True)["spec"]}
        deployment = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
        warned = await api.request("POST", "/apis/apps/v1/namespaces/default/deployments", deployment)
        assert (warned.status, "host namespaces (hostPID=true)" in warned.headers["Warning"]) == (201, True)
        labelled = await label(api, **{ENFORCE: "baseline"})
        assert labelled.headers["Warning"] == (
            '299 - "existing pods in namespace \\"default\\" violate the new PodSecurity enforce level \\"baseline:latest\\"", 299 - "a: host namespaces"'
        )
        refused = await api.json("POST", PODS, pod("b", hostPID=True), status=403)
        assert refused["message"] == 'pods "b" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'

    with_api(test)


def test_a_dry_run_of_a_label_tells_without_labelling(with_api):
    async def test(api):
        await api.json("POST", PODS, pod("a", hostPID=True), status=201)
        body, headers = {"metadata": {"labels": {ENFORCE: "baseline"}}}, {"content-type": "application/merge-patch+json"}
        await api.server.feed.caught_up()
        tried = await api.request("PATCH", f"{NAMESPACES}/default", body, headers=headers, dryRun="All")
        assert (tried.status, "a: host namespaces" in tried.headers["Warning"]) == (200, True)
        await api.json("POST", PODS, pod("b", hostPID=True), status=201)

    with_api(test)


def test_a_label_that_says_nothing_known_is_refused(with_api):
    async def test(api):
        response = await label(api, **{ENFORCE: "strict"})
        assert response.status == 422

    with_api(test)


def test_a_claim_gets_its_class_and_its_protection(with_api):
    async def test(api):
        mark = {"storageclass.kubernetes.io/is-default-class": "true"}
        body = {"metadata": {"name": "fast", "annotations": mark}, "provisioner": "example.com/p"}
        await api.json("POST", "/apis/storage.k8s.io/v1/storageclasses", body, status=201)
        await api.server.feed.caught_up()
        claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
        made = await api.json("POST", "/api/v1/namespaces/default/persistentvolumeclaims", claim, status=201)
        assert made["spec"]["storageClassName"] == "fast"
        assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        going = await api.json("DELETE", "/api/v1/namespaces/default/persistentvolumeclaims/data", status=200)
        assert going["metadata"]["deletionTimestamp"]

    with_api(test)


def test_a_new_node_is_tainted_until_it_is_seen_to_be_ready(with_api):
    async def test(api):
        made = await api.json("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}}, status=201)
        assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]

    with_api(test)
