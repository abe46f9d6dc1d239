"""What a pod may ask for, seen from inside its containers."""

import base64

from k8sfromscratch.api.registry import CONFIG_MAPS, PODS, SECRETS, SERVICES, TOKEN_REVIEWS
from k8sfromscratch.components.kubelet import pod_worker


def config_map(**data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cfg", "namespace": "default"}, "data": data}


def secret(**data: str) -> dict:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sec", "namespace": "default"}, "data": encoded}


def waiting(status: dict, name: str = "app") -> str:
    for entry in status.get("containerStatuses", []):
        if entry["name"] == name:
            return entry["state"].get("waiting", {}).get("reason", "")
    return ""


def test_environment(story):
    async def tell(cluster):
        await cluster.client.create(CONFIG_MAPS, config_map(COLOR="blue"))
        await cluster.client.create(SECRETS, secret(key="hidden"))
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "db", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 5432}]},
        }
        await cluster.client.create(SERVICES, service)
        env = [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(DB_SERVICE_HOST)"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "key"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        ]
        await cluster.create("env", {"name": "app", "env": env, "envFrom": [{"configMapRef": {"name": "cfg"}}], "resources": {"limits": {"cpu": "250m"}}})
        pod = await cluster.running("env")
        lines = (await cluster.exec("env", "env")).splitlines()
        wanted = {"A=1", "B=1-10.96.0.77", "KEY=hidden", f"IP={pod['status']['podIP']}", "NODE=n1", "CPU=250", "COLOR=blue", "DB_PORT=tcp://10.96.0.77:5432"}
        assert wanted <= set(lines)

    story(tell)


def test_volumes_and_their_updates(story, tmp_path, monkeypatch):
    monkeypatch.setattr(pod_worker, "REFRESH_S", 0.2)

    async def tell(cluster):
        await cluster.client.create(CONFIG_MAPS, config_map(a="1", b="2"))
        await cluster.client.create(SECRETS, secret(key="hidden"))
        (tmp_path / "host").mkdir()
        volumes = [
            {"name": "cfg", "configMap": {"name": "cfg"}},
            {"name": "sec", "secret": {"secretName": "sec", "defaultMode": 0o400}},
            {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "all", "projected": {"sources": [{"configMap": {"name": "cfg", "items": [{"key": "a", "path": "x/a"}]}}, {"secret": {"name": "sec"}}]}},
            {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "host", "hostPath": {"path": str(tmp_path / "host")}},
        ]
        mounts = [{"name": v["name"], "mountPath": f"/v/{v['name']}", "readOnly": v["name"] == "host"} for v in volumes]
        mounts.append({"name": "cfg", "mountPath": "/v/one", "subPath": "b"})
        mounts.append({"name": "mem", "mountPath": "/v/sub", "subPathExpr": "$(WHO)/dir"})
        container = {"name": "app", "volumeMounts": mounts, "env": [{"name": "WHO", "value": "me"}]}
        await cluster.create("vols", container, volumes=volumes, metadata={"labels": {"app": "vols"}}, securityContext={"fsGroup": 1234})
        await cluster.running("vols")
        script = "cd /v; cat cfg/a sec/key down/labels all/x/a all/key one; stat -c %a:%g sec/..data/key mem; df mem | tail -1; ls mem; touch host/x"
        lines = (await cluster.exec("vols", "sh", "-c", script)).splitlines()
        assert lines[0] == '1hiddenapp="vols"1hidden2440:1234'
        assert lines[1].endswith(":1234")
        assert lines[2].split()[:2] == ["tmpfs", "1024"]
        assert lines[3] == "me"
        assert "Read-only file system" in lines[4]
        await cluster.client.update(CONFIG_MAPS, config_map(a="3", c="4"))
        await cluster.client.patch(PODS, "vols", {"metadata": {"labels": {"app": "new"}}}, "default")

        async def updated() -> bool:
            return await cluster.exec("vols", "sh", "-c", "ls /v/cfg; cat /v/cfg/a /v/all/x/a /v/down/labels") == 'a\nc\n33app="new"'

        await cluster.until(updated)

    story(tell)


def test_a_service_account_token_speaks_for_the_pod(story):
    async def tell(cluster):
        await cluster.client.create(CONFIG_MAPS, config_map(**{"ca.crt": "CERT"}) | {"metadata": {"name": "kube-root-ca.crt", "namespace": "default"}})
        await cluster.create("api", automountServiceAccountToken=True)
        pod = await cluster.running("api")
        directory = "/var/run/secrets/kubernetes.io/serviceaccount"
        assert (await cluster.exec("api", "sh", "-c", f"cd {directory}; cat ca.crt namespace; df . | tail -1")).startswith("CERTdefaulttmpfs")
        token = await cluster.exec("api", "cat", f"{directory}/token")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = (await cluster.client.create(TOKEN_REVIEWS, review))["status"]
        assert status["user"]["username"] == "system:serviceaccount:default:default"
        assert status["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]

    story(tell)


def test_what_is_missing_is_waited_for(story, monkeypatch):
    monkeypatch.setattr(pod_worker, "STEP_RETRY_S", 0.2)

    async def tell(cluster):
        await cluster.create("env", {"name": "app", "envFrom": [{"configMapRef": {"name": "cfg"}}]})
        await cluster.create("vol", volumes=[{"name": "v", "configMap": {"name": "cfg"}}])
        await cluster.pod_where("env", lambda s: waiting(s) == "CreateContainerConfigError")
        assert await cluster.event("env", "Failed") == 'Error: configmap "cfg" not found'
        assert 'configmap "cfg" not found' in await cluster.event("vol", "FailedMount")
        await cluster.pod_where("vol", lambda s: waiting(s) == "ContainerCreating")
        await cluster.client.create(CONFIG_MAPS, config_map(A="1"))
        await cluster.running("env")
        await cluster.running("vol")

    story(tell)


def test_what_is_not_supported_is_refused_by_name(story):
    async def tell(cluster):
        await cluster.create("nfs", volumes=[{"name": "v", "nfs": {"server": "s", "path": "/"}}])
        await cluster.create("grpc", {"name": "app", "livenessProbe": {"grpc": {"port": 1}}})
        assert "volumes of type nfs are not supported" in await cluster.event("nfs", "FailedMount")
        assert "a handler of type grpc is not supported" in await cluster.event("grpc", "Failed")

    story(tell)


def test_images_that_cannot_be_had(story):
    async def tell(cluster):
        await cluster.create("never", {"name": "app", "image": "absent:1", "imagePullPolicy": "Never"})
        await cluster.create("pull", {"name": "app", "image": "localhost:1/absent:1"})
        await cluster.create("wrong", {"name": "app", "image": "Not/An/Image"})
        await cluster.create("run", {"name": "app", "command": ["no-such-program"]}, restartPolicy="Never")
        await cluster.pod_where("never", lambda s: waiting(s) == "ErrImageNeverPull")
        await cluster.pod_where("pull", lambda s: waiting(s) == "ImagePullBackOff")
        await cluster.pod_where("wrong", lambda s: waiting(s) == "InvalidImageName")
        await cluster.event_with("pull", "Failed", "connection refused")
        failed = (await cluster.ended("run", "Failed"))["status"]["containerStatuses"][0]["state"]["terminated"]
        assert (failed["reason"], failed["exitCode"]) == ("StartError", 128)

    story(tell)


def test_security_hosts_and_resolver(story):
    async def tell(cluster):
        context = {"runAsUser": 77, "capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
        await cluster.create("plain", {"name": "app", "securityContext": context}, hostAliases=[{"ip": "1.2.3.4", "hostnames": ["alias"]}])
        await cluster.create("host", hostNetwork=True)
        status = (await cluster.running("plain"))["status"]
        script = "id -u; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; hostname; cat /etc/hosts /etc/resolv.conf"
        text = await cluster.exec("plain", "sh", "-c", script)
        assert text.splitlines()[:3] == ["77", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]
        assert f"{status['podIP']}\tplain\n" in text
        assert "1.2.3.4\talias\n" in text
        assert "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5" in text
        assert (await cluster.running("host"))["status"]["podIP"] == "127.0.0.1"
        assert "nameserver 192.0.2.53" in await cluster.exec("host", "cat", "/etc/resolv.conf")

    story(tell)


def test_probes(story):
    async def tell(cluster):
        # A second each, the usual time, would tell of the machine.
        patient = {"periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 1}
        serve = "mkdir /www; echo ok >/www/index.html; touch /tmp/alive; httpd -p 8080 -h /www; trap 'exit 0' TERM; sleep 1000 & wait"
        await cluster.create(
            "probed",
            {
                "name": "app",
                "command": ["sh", "-c", serve],
                "ports": [{"name": "http", "containerPort": 8080}],
                "startupProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 30},
                "readinessProbe": {"httpGet": {"path": "/index.html", "port": "http"}, **patient},
                "livenessProbe": {"exec": {"command": ["test", "-e", "/tmp/alive"]}, **patient},
            },
        )
        await cluster.running("probed")
        await cluster.exec("probed", "mv", "/www/index.html", "/www/x")
        await cluster.pod_where("probed", lambda s: not s["containerStatuses"][0]["ready"])
        await cluster.event_with("probed", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404")
        await cluster.exec("probed", "mv", "/www/x", "/www/index.html")
        await cluster.running("probed")
        await cluster.exec("probed", "rm", "/tmp/alive")
        await cluster.pod_where("probed", lambda s: s["containerStatuses"][0]["restartCount"] == 1 and s["containerStatuses"][0]["ready"])
        assert await cluster.event("probed", "Killing") == "Container app failed liveness probe, will be restarted"

    story(tell)
