"""`run` and `debug`, as far as the API goes.  `debug` with all releases: profiles and the
request's form differ."""

import json


def test_run(kubectl):
    words = ("--image=busybox", "--labels=app=alone,tier=x", "--env=A=B", "--port=80", "--annotations=a=b", "--image-pull-policy=Never")
    kubectl("run", "alone", *words, "--command", "--", "sleep", "9")
    pod = kubectl.object("pod", "alone")
    (container,) = pod["spec"]["containers"]
    assert (pod["metadata"]["labels"], pod["metadata"]["annotations"], pod["spec"]["restartPolicy"]) == ({"app": "alone", "tier": "x"}, {"a": "b"}, "Always")
    assert (container["command"], container["env"], container["ports"][0]["containerPort"]) == (["sleep", "9"], [{"name": "A", "value": "B"}], 80)
    assert container["imagePullPolicy"] == "Never"
    kubectl("run", "once", "--image=busybox", "--restart=Never", "--overrides", '{"spec":{"hostNetwork":true}}', "--", "echo")
    once = kubectl.object("pod", "once")["spec"]
    assert (once["restartPolicy"], once["hostNetwork"], once["containers"][0]["args"]) == ("Never", True, ["echo"])
    assert json.loads(kubectl("run", "dry", "--image=i", "--dry-run=server", "-o", "json"))["spec"]["schedulerName"] == "default-scheduler"
    assert 'pods "dry" not found' in kubectl.fails("get", "pod", "dry")


def test_an_ephemeral_container(release):
    release("run", "p", "--image=busybox")
    release("debug", "p", "--image=debian", "-c", "dbg", "--target=p", "--env=A=B", "--attach=false", "--", "sh")
    (ephemeral,) = release.object("pod", "p")["spec"]["ephemeralContainers"]
    assert (ephemeral["name"], ephemeral["image"], ephemeral["targetContainerName"], ephemeral["command"]) == ("dbg", "debian", "p", ["sh"])
    assert ephemeral["env"] == [{"name": "A", "value": "B"}]
    release("debug", "p", "--image=debian", "--attach=false", "--profile=general")
    assert [one["image"] for one in release.object("pod", "p")["spec"]["ephemeralContainers"]] == ["debian", "debian"]
    changed = release.object("pod", "p")
    changed["spec"]["ephemeralContainers"][0]["image"] = "other"
    path = f"/api/v1/namespaces/{release.namespace}/pods/p/ephemeralcontainers"
    refused = release.fails("replace", "--raw", path, "-f", "-", text=json.dumps(changed))
    assert "existing ephemeral containers" in refused and "may not be changed" in refused


def test_a_copy(release):
    release("run", "p", "--image=busybox", "--labels=app=p")
    release("debug", "p", "--copy-to=q", "--set-image=p=debian", "--attach=false", "--share-processes")
    copy = release.object("pod", "q")
    assert (copy["spec"]["containers"][0]["image"], copy["spec"]["shareProcessNamespace"]) == ("debian", True)
    release("debug", "p", "--copy-to=r", "--image=debian", "-c", "dbg", "--replace", "--attach=false")
    assert [c["name"] for c in release.object("pod", "r")["spec"]["containers"]] == ["p", "dbg"]
    assert 'pods "p" not found' in release.fails("get", "pod", "p")


def test_a_node(release):
    name = f"n-{release.namespace}"
    release.ask("/api/v1/nodes", {"metadata": {"name": name}})
    privileged = release.minor() >= 30  # the profile that is so came then
    release("debug", f"node/{name}", "--image=debian", "--attach=false", f"--profile={'sysadmin' if privileged else 'general'}")
    (pod,) = release.json("get", "pods")["items"]
    assert pod["metadata"]["name"].startswith(f"node-debugger-{name}-")
    assert (pod["spec"]["nodeName"], pod["spec"]["hostNetwork"], pod["spec"]["hostPID"]) == (name, True, True)
    assert {"name": "host-root", "hostPath": {"path": "/", "type": ""}} in pod["spec"]["volumes"]
    assert pod["spec"]["containers"][0].get("securityContext") == ({"privileged": True} if privileged else None)
    release.ask(f"/api/v1/nodes/{name}", method="DELETE")
