"""`exec`, `attach` and `cp`, by every release: older ones speak SPDY only, newer ones WebSocket first (see `containers`)."""

import os

import pytest

READ = ("sh", "-c", "until [ -s /tmp/me ]; do sleep 0.1; done; cat /tmp/me")
"""What the container has written, once it has."""
ECHO = "while read line; do echo said $line; done; sleep 1000"


def test_exec(containers):
    kubectl = containers.kubectl
    containers.pod("web", "echo of app > /tmp/me; sleep 1000", "echo of app1 > /tmp/me; sleep 1000")
    done = kubectl.run("exec", "web", "-c", "app", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert done.stderr.startswith("err\n") and "exit code 7" in done.stderr
    first = kubectl.run("exec", "web", "--", *READ)
    assert (first.stdout, "Defaulted container" in first.stderr) == ("of app\n", True)
    assert kubectl("exec", "pod/web", "--container=app1", "--", *READ) == "of app1\n"
    text = "x" * 300_000 + "\n"
    assert kubectl("exec", "-i", "web", "-c", "app", "--", "cat", text=text) == text
    assert kubectl("exec", "-i", "web", "-c", "app", "--", "wc", "-c", text="").strip() == "0"
    assert kubectl.run("exec", "web", "-c", "app", "--", "no-such-program").returncode != 0
    assert "none" in kubectl.fails("exec", "web", "-c", "none", "--", "true")
    assert 'pods "absent" not found' in kubectl.fails("exec", "absent", "--", "true")


def test_attach(containers):
    kubectl = containers.kubectl
    containers.pod("echoing", ECHO, app={"stdin": True})
    with kubectl.start("attach", "-i", "echoing") as attached:
        attached.send("one\n")
        assert attached.until("said one").endswith("said one\n")
        attached.send("two\n")
        assert attached.line() == "said two\n"


def test_cp(containers, tmp_path):
    kubectl = containers.kubectl
    containers.pod("web", "sleep 1000", "sleep 1000")
    blob = os.urandom(200_000)
    (tmp_path / "there" / "deep").mkdir(parents=True)
    (tmp_path / "there" / "blob").write_bytes(blob)
    (tmp_path / "there" / "deep" / "text").write_text("a text")
    kubectl("cp", "-c", "app", f"{tmp_path}/there/blob", f"{kubectl.namespace}/web:/tmp/blob")
    kubectl("cp", "-c", "app", "web:/tmp/blob", f"{tmp_path}/back")
    assert (tmp_path / "back").read_bytes() == blob
    kubectl("cp", "-c", "app1", f"{tmp_path}/there", "web:/tmp/tree")
    assert kubectl("exec", "web", "-c", "app1", "--", "cat", "/tmp/tree/deep/text") == "a text"
    kubectl("cp", "-c", "app1", "web:/tmp/tree", f"{tmp_path}/tree")
    assert (tmp_path / "tree" / "blob").read_bytes() == blob and (tmp_path / "tree" / "deep" / "text").read_text() == "a text"
    kubectl.run("cp", "-c", "app", "web:/tmp/none", f"{tmp_path}/none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("words", [(), ("--rm",)])
def test_run_with_its_input(newest, words):
    """`run -i` makes the pod, waits for it, attaches; with --rm the pod goes when its command ends."""
    kubectl = newest.kubectl
    overrides = '{"spec":{"nodeName":"machine","automountServiceAccountToken":false}}'
    run = ("run", "calc", "-i", *words, "--restart=Never", "--image=busybox", "--image-pull-policy=IfNotPresent", f"--overrides={overrides}")
    said = kubectl(*run, "--", "sh", "-c", "read a; echo got $a", text="seven\n")
    assert "got seven" in said
    if words:
        assert "NotFound" in kubectl.fails("get", "pod", "calc")
    else:
        kubectl("wait", "pod/calc", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
        assert kubectl("logs", "calc") == "got seven\n"
