"""`logs` in all its forms, on real containers, by the newest release; following by all of them, for it is a stream."""

import re

FOREVER = "trap 'exit 0' TERM; sleep 1000 & wait"


def test_one_container(newest):
    kubectl = newest.kubectl
    newest.pod("talking", f"for i in 1 2 3; do echo line $i; done; echo oops >&2; {FOREVER}", f"echo other; {FOREVER}")
    newest.says("talking", "app", "line 1", "line 2", "line 3", "oops")
    newest.says("talking", "app1", "other")
    assert sorted(kubectl("logs", "talking", "-c", "app").splitlines()) == ["line 1", "line 2", "line 3", "oops"]
    assert len(kubectl("logs", "talking", "-c", "app", "--tail=2").splitlines()) == 2
    assert len(kubectl("logs", "talking", "-c", "app", "--limit-bytes=6")) == 6
    stamped = kubectl("logs", "talking", "-c", "app1", "--timestamps")
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+\S+ other\n", stamped)
    assert found is not None
    assert kubectl("logs", "talking", "-c", "app1", f"--since-time={found[1]}Z") == "other\n"
    assert kubectl("logs", "talking", "-c", "app1", "--since-time=2100-01-01T00:00:00Z") == ""
    assert kubectl("logs", "talking", "-c", "app1", "--since=1h") == "other\n"
    both = kubectl("logs", "talking", "--all-containers", "--prefix").splitlines()
    assert "[pod/talking/app1] other" in both and "[pod/talking/app] line 2" in both
    assert "container none is not valid for pod talking" in kubectl.fails("logs", "talking", "-c", "none")
    assert 'previous terminated container "app" in pod "talking" not found' in kubectl.fails("logs", "talking", "-c", "app", "--previous")


def test_of_several_pods(newest):
    kubectl = newest.kubectl
    for name in ("a", "b"):
        newest.pod(name, f"echo I am {name}; {FOREVER}", labels={"app": "choir"})
        newest.says(name, "app", f"I am {name}")
    assert sorted(kubectl("logs", "-l", "app=choir", "--prefix").splitlines()) == ["[pod/a/app] I am a", "[pod/b/app] I am b"]
    template = {"metadata": {"labels": {"app": "choir"}}, "spec": {"containers": [{"name": "app", "image": "busybox"}]}}
    spec = {"selector": {"matchLabels": {"app": "choir"}}, "template": template}
    kubectl.ask(f"/apis/apps/v1/namespaces/{kubectl.namespace}/deployments", {"metadata": {"name": "choir"}, "spec": spec})
    assert kubectl("logs", "deployment/choir").startswith("I am ")


def test_followed(containers):
    kubectl = containers.kubectl
    containers.pod("talking", "echo first; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo second; exit 3", restartPolicy="Never")
    with kubectl.start("logs", "-f", "talking") as following:
        assert following.line() == "first\n"
        kubectl("exec", "talking", "--", "touch", "/tmp/go")
        assert (following.line(), following.line(), following.ends()) == ("second\n", "", 0)


def test_of_the_run_before(newest):
    kubectl = newest.kubectl
    newest.pod("again", "echo run; if [ -e /keep/been ]; then sleep 1000; fi; touch /keep/been; exit 1", ready=False, **_kept())
    kubectl("wait", "pod/again", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=60s")
    kubectl("wait", "pod/again", "--for=condition=Ready", "--timeout=60s")
    assert kubectl("logs", "again", "--previous") == "run\n"
    assert kubectl.table("get", "pod", "again")[1][3].startswith("1 (")


def _kept() -> dict:
    """A volume of the pod's, which outlives its containers."""
    return {"volumes": [{"name": "keep", "emptyDir": {}}], "app": {"volumeMounts": [{"name": "keep", "mountPath": "/keep"}]}}
