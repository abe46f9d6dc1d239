"""Everything else: namespaces, secrets, RBAC, admission, API extension, priorities, quotas, devices."""

from base64 import b64encode

from k8sfromscratch.api.defaults.fill import Object, child, if_absent, if_empty, objects

RBAC_GROUP = "rbac.authorization.k8s.io"
WEBHOOK_TIMEOUT_S = 10
TOKEN_LIFETIME_S = 3600


def namespace(obj: Object) -> None:
    """The finalizer is given on creation only (by the apiserver), else nobody could ever take it off."""
    metadata = child(obj, "metadata")
    if metadata.get("name"):
        # People select namespaces by name through this label (KEP-2161).
        child(metadata, "labels")["kubernetes.io/metadata.name"] = metadata["name"]
    if_empty(child(obj, "status"), phase="Active")


def node(obj: Object) -> None:
    status = obj.get("status") or {}
    if status.get("capacity"):
        if_absent(status, allocatable=dict(status["capacity"]))


def secret(obj: Object) -> None:
    """`stringData` is for writing only: it goes into `data`, over what is there."""
    if_empty(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        child(obj, "data").update({key: b64encode(text.encode()).decode() for key, text in plain.items()})


def limit_range(obj: Object) -> None:
    for item in objects(obj.get("spec") or {}, "limits"):
        if item.get("type") != "Container":
            continue
        defaults = child(item, "default")
        requests = child(item, "defaultRequest")
        for name, amount in (item.get("max") or {}).items():
            defaults.setdefault(name, amount)
        for name, amount in {**(item.get("min") or {}), **defaults}.items():
            requests.setdefault(name, amount)
        for key in ("default", "defaultRequest"):
            if not item[key]:
                del item[key]


def role_binding(obj: Object) -> None:
    if_empty(child(obj, "roleRef"), apiGroup=RBAC_GROUP)
    for subject in objects(obj, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            if_empty(subject, apiGroup=RBAC_GROUP)


def priority_class(obj: Object) -> None:
    if_absent(obj, preemptionPolicy="PreemptLowerPriority")


def token_request(obj: Object) -> None:
    if_absent(child(obj, "spec"), expirationSeconds=TOKEN_LIFETIME_S)


# -- admission and API extension


def validating_webhook_configuration(obj: Object) -> None:
    for webhook in objects(obj, "webhooks"):
        _webhook(webhook)


def mutating_webhook_configuration(obj: Object) -> None:
    for webhook in objects(obj, "webhooks"):
        _webhook(webhook)
        if_absent(webhook, reinvocationPolicy="Never")


def _webhook(webhook: Object) -> None:
    if_absent(webhook, failurePolicy="Fail", matchPolicy="Equivalent", namespaceSelector={}, objectSelector={}, timeoutSeconds=WEBHOOK_TIMEOUT_S)
    _scopes(webhook, "rules")
    _service_port(webhook.get("clientConfig") or {})


def _scopes(of: Object, *keys: str) -> None:
    for rule in objects(of, *keys):
        if_absent(rule, scope="*")


def _service_port(client_config: Object) -> None:
    if "service" in client_config:
        if_absent(client_config["service"], port=443)


def validating_admission_policy(obj: Object) -> None:
    spec = child(obj, "spec")
    if_absent(spec, failurePolicy="Fail")
    if "matchConstraints" in spec:
        _match_resources(spec["matchConstraints"])


def validating_admission_policy_binding(obj: Object) -> None:
    spec = child(obj, "spec")
    if "matchResources" in spec:
        _match_resources(spec["matchResources"])


def _match_resources(of: Object) -> None:
    if_absent(of, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
    _scopes(of, "resourceRules", "excludeResourceRules")


def custom_resource_definition(obj: Object) -> None:
    spec = child(obj, "spec")
    names = child(spec, "names")
    kind = names.get("kind") or ""
    if kind:
        if_empty(names, singular=kind.lower(), listKind=f"{kind}List")
    conversion = child(spec, "conversion")
    if_empty(conversion, strategy="None")
    _service_port((conversion.get("webhook") or {}).get("clientConfig") or {})


def api_service(obj: Object) -> None:
    _service_port(obj.get("spec") or {})


# -- fairness and devices


def flow_schema(obj: Object) -> None:
    if_empty(child(obj, "spec"), matchingPrecedence=1000)


def priority_level_configuration(obj: Object) -> None:
    spec = child(obj, "spec")
    if "exempt" in spec:
        if_absent(spec["exempt"], nominalConcurrencyShares=0, lendablePercent=0)
    if "limited" in spec:
        if_absent(spec["limited"], nominalConcurrencyShares=30, lendablePercent=0)
        queuing = (spec["limited"].get("limitResponse") or {}).get("queuing")
        if queuing is not None:
            if_empty(queuing, queues=64, handSize=8, queueLengthLimit=50)


def resource_claim(obj: Object) -> None:
    _device_requests(obj.get("spec") or {})


def resource_claim_template(obj: Object) -> None:
    _device_requests((obj.get("spec") or {}).get("spec") or {})


def _device_requests(spec: Object) -> None:
    for request in objects(spec.get("devices") or {}, "requests"):
        for one in (*objects(request, "firstAvailable"), *([request["exactly"]] if "exactly" in request else [])):
            if_empty(one, allocationMode="ExactCount")
            if one["allocationMode"] == "ExactCount":
                if_empty(one, count=1)
            for toleration in objects(one, "tolerations"):
                if_empty(toleration, operator="Equal")
