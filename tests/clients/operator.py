"""An operator as people write them with kopf: a Greeting becomes a ConfigMap that it owns; its status says so; a finalizer guards the end."""

import kopf
from kubernetes import client, config


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: object) -> None:
    config.load_kube_config()
    settings.persistence.finalizer = "greetings.example.com/finalizer"


@kopf.on.create("example.com", "v1", "greetings")
@kopf.on.update("example.com", "v1", "greetings", field="spec.text")
def write(spec: dict, name: str, namespace: str, patch: kopf.Patch, **_: object) -> dict[str, str]:
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": spec["text"]}}
    kopf.adopt(wanted)
    core = client.CoreV1Api()
    try:
        core.create_namespaced_config_map(namespace, wanted)
    except client.ApiException as error:
        if error.status != 409:
            raise
        core.patch_namespaced_config_map(name, namespace, {"data": wanted["data"]})
    patch.status["text"] = spec["text"]
    return {"written": name}


@kopf.on.delete("example.com", "v1", "greetings")
def say_goodbye(name: str, namespace: str, **_: object) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-goodbye"}, "data": {"of": name}}
    client.CoreV1Api().create_namespaced_config_map(namespace, body)
