"""Admission sees objects before they are validated: whatever is missing in them is the client's fault, told as such."""

import pytest

DEFAULT = "/api/v1/namespaces/default"


@pytest.mark.parametrize(
    ("path", "kind", "spec"),
    [
        (f"{DEFAULT}/pods", "Pod", None),
        (f"{DEFAULT}/pods", "Pod", {}),
        (f"{DEFAULT}/pods", "Pod", {"containers": []}),
        (f"{DEFAULT}/pods", "Pod", {"containers": [{}]}),
        (f"{DEFAULT}/pods", "Pod", {"containers": None, "runtimeClassName": "", "tolerations": None, "overhead": None}),
        (f"{DEFAULT}/pods", "Pod", {"containers": [{"name": "c", "image": "i"}], "volumes": [{}]}),
        (f"{DEFAULT}/persistentvolumeclaims", "PersistentVolumeClaim", None),
        (f"{DEFAULT}/persistentvolumeclaims", "PersistentVolumeClaim", {"resources": None}),
        (f"{DEFAULT}/services", "Service", None),
        ("/api/v1/persistentvolumes", "PersistentVolume", None),
        ("/apis/apps/v1/namespaces/default/deployments", "Deployment", {"template": {}}),
        ("/apis/batch/v1/namespaces/default/cronjobs", "CronJob", {"jobTemplate": None}),
        ("/apis/networking.k8s.io/v1/namespaces/default/ingresses", "Ingress", None),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests", "CertificateSigningRequest", None),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests", "CertificateSigningRequest", {"signerName": "kubernetes.io/kube-apiserver-client"}),
    ],
)
def test_what_is_missing_is_no_fault_of_the_servers(with_api, path, kind, spec):
    async def test(api):
        limits = [
            {"type": "Container", "default": {"cpu": "1"}},
            {"type": "Pod", "max": {"cpu": "1"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "1"}},
        ]
        await api.json("POST", f"{DEFAULT}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": limits}}, status=201)
        hard = {"pods": "1", "limits.cpu": "1", "services": "9", "requests.storage": "1", "count/deployments.apps": "1"}
        quota = await api.json("POST", f"{DEFAULT}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}}, status=201)
        quota["status"] = {"hard": hard, "used": dict.fromkeys(hard, "0")}
        await api.json("PUT", f"{DEFAULT}/resourcequotas/q/status", quota, status=200)
        labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}}}
        await api.json("PATCH", DEFAULT, labels, headers={"content-type": "application/merge-patch+json"}, status=200)
        await api.server.feed.caught_up()
        response = await api.request("POST", path, {"kind": kind, "metadata": {"name": "x"}, **({} if spec is None else {"spec": spec})})
        assert response.status < 500, response.body

    with_api(test)
