"""Services, endpoints, ingresses, network policies.  Cluster IPs and IP families are the apiserver's allocators' matter."""

from k8sfromscratch.api.defaults.fill import Object, child, if_absent, if_empty, objects

SESSION_TIMEOUT_S = 3 * 3600


def service(obj: Object) -> None:
    spec = child(obj, "spec")
    if_empty(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        if_absent(child(child(spec, "sessionAffinityConfig"), "clientIP"), timeoutSeconds=SESSION_TIMEOUT_S)
    for port in objects(spec, "ports"):
        if_empty(port, protocol="TCP", targetPort=port.get("port", 0))
    outside = spec["type"] in ("NodePort", "LoadBalancer") or (spec["type"] == "ClusterIP" and spec.get("externalIPs"))
    if outside:
        if_empty(spec, externalTrafficPolicy="Cluster")
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        if_absent(spec, internalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        if_absent(spec, allocateLoadBalancerNodePorts=True)


def endpoints(obj: Object) -> None:
    for subset in objects(obj, "subsets"):
        for port in objects(subset, "ports"):
            if_empty(port, protocol="TCP")


def endpoint_slice(obj: Object) -> None:
    for port in objects(obj, "ports"):
        if_absent(port, name="", protocol="TCP")


def ingress_class(obj: Object) -> None:
    parameters = (obj.get("spec") or {}).get("parameters")
    if parameters:
        if_absent(parameters, scope="Cluster")


def network_policy(obj: Object) -> None:
    spec = child(obj, "spec")
    for rule in objects(spec, "ingress", "egress"):
        for port in objects(rule, "ports"):
            if_absent(port, protocol="TCP")
    if_empty(spec, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
