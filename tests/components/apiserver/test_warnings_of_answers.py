"""Warning headers: what kubectl prints as `Warning: …`."""

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = {"content-type": "application/merge-patch+json"}
FAULT = '299 - "spec.template.spec.imagePullSecrets[0].name: invalid empty name \\"\\""'


def deployment(**spec):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}], "imagePullSecrets": [{"name": ""}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }


def test_writes_warn_of_what_they_change_and_a_status_of_nothing(with_api):
    async def main(api):
        created = await api.request("POST", DEPLOYMENTS, deployment())
        assert (created.status, created.headers.get("Warning")) == (201, FAULT)
        labeled = await api.request("PATCH", f"{DEPLOYMENTS}/d", {"metadata": {"labels": {"x": "y"}}}, headers=MERGE)
        assert (labeled.status, labeled.headers.get("Warning")) == (200, None)
        scaled = await api.request("PATCH", f"{DEPLOYMENTS}/d", {"spec": {"replicas": 3}}, headers=MERGE)
        assert (scaled.status, scaled.headers.get("Warning")) == (200, FAULT)
        status = await api.request("PATCH", f"{DEPLOYMENTS}/d/status", {"status": {"replicas": 3}}, headers=MERGE)
        assert (status.status, status.headers.get("Warning")) == (200, None)

    with_api(main)


def test_a_deprecated_kind_warns_however_it_is_asked_for(with_api):
    async def main(api):
        told = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
        for path in ("/api/v1/endpoints", "/api/v1/namespaces/default/endpoints"):
            assert (await api.request("GET", path)).headers.get("Warning") == told
        assert "Warning" not in (await api.request("GET", "/apis/discovery.k8s.io/v1/endpointslices")).headers

    with_api(main)


def test_a_refusal_carries_the_warnings_that_came_before_it(with_api):
    async def main(api):
        refused = await api.request("POST", DEPLOYMENTS, deployment(replica=1, replicas=-1))
        assert (refused.status, refused.headers.get("Warning")) == (422, '299 - "unknown field \\"spec.replica\\""')

    with_api(main)
