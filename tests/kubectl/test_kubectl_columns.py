"""The columns of `get` and `get -o wide` for every kind, beside upstream's: a list of our own, from upstream's printers, against the server's answer."""

import pytest

from k8sfromscratch.api.registry import RESOURCES

# Plural and group: the headings that are always shown, then those of the wide form.
POD_TEMPLATE = "CONTAINERS IMAGES SELECTOR"
SUBJECTS = "USERS GROUPS SERVICEACCOUNTS"
COLUMNS = {
    "componentstatuses": ("NAME STATUS MESSAGE ERROR", ""),
    "configmaps": ("NAME DATA AGE", ""),
    "endpoints": ("NAME ENDPOINTS AGE", ""),
    "events": ("LAST_SEEN TYPE REASON OBJECT MESSAGE", "SUBOBJECT SOURCE FIRST_SEEN COUNT NAME"),
    "limitranges": ("NAME CREATED_AT", ""),
    "namespaces": ("NAME STATUS AGE", ""),
    "nodes": ("NAME STATUS ROLES AGE VERSION", "INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME"),
    "persistentvolumeclaims": ("NAME STATUS VOLUME CAPACITY ACCESS_MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE", "VOLUMEMODE"),
    "persistentvolumes": ("NAME CAPACITY ACCESS_MODES RECLAIM_POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE", "VOLUMEMODE"),
    "pods": ("NAME READY STATUS RESTARTS AGE", "IP NODE NOMINATED_NODE READINESS_GATES"),
    "podtemplates": ("NAME CONTAINERS IMAGES POD_LABELS", ""),
    "replicationcontrollers": ("NAME DESIRED CURRENT READY AGE", POD_TEMPLATE),
    "resourcequotas": ("NAME REQUEST LIMIT AGE", ""),
    "secrets": ("NAME TYPE DATA AGE", ""),
    "serviceaccounts": ("NAME SECRETS AGE", ""),
    "services": ("NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE", "SELECTOR"),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": ("NAME WEBHOOKS AGE", ""),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": ("NAME WEBHOOKS AGE", ""),
    "validatingadmissionpolicies.admissionregistration.k8s.io": ("NAME VALIDATIONS PARAMKIND AGE", ""),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": ("NAME POLICYNAME PARAMREF AGE", ""),
    "customresourcedefinitions.apiextensions.k8s.io": ("NAME CREATED_AT", ""),
    "apiservices.apiregistration.k8s.io": ("NAME SERVICE AVAILABLE AGE", ""),
    "controllerrevisions.apps": ("NAME CONTROLLER REVISION AGE", ""),
    "daemonsets.apps": ("NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE_SELECTOR AGE", POD_TEMPLATE),
    "deployments.apps": ("NAME READY UP-TO-DATE AVAILABLE AGE", POD_TEMPLATE),
    "replicasets.apps": ("NAME DESIRED CURRENT READY AGE", POD_TEMPLATE),
    "statefulsets.apps": ("NAME READY AGE", "CONTAINERS IMAGES"),
    "horizontalpodautoscalers.autoscaling": ("NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE", ""),
    "cronjobs.batch": ("NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST_SCHEDULE AGE", POD_TEMPLATE),
    "jobs.batch": ("NAME STATUS COMPLETIONS DURATION AGE", POD_TEMPLATE),
    "certificatesigningrequests.certificates.k8s.io": ("NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION", ""),
    "leases.coordination.k8s.io": ("NAME HOLDER AGE", ""),
    "endpointslices.discovery.k8s.io": ("NAME ADDRESSTYPE PORTS ENDPOINTS AGE", ""),
    "events.events.k8s.io": ("LAST_SEEN TYPE REASON OBJECT MESSAGE", "SUBOBJECT SOURCE FIRST_SEEN COUNT NAME"),
    "flowschemas.flowcontrol.apiserver.k8s.io": ("NAME PRIORITYLEVEL MATCHINGPRECEDENCE DISTINGUISHERMETHOD AGE MISSINGPL", ""),
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": ("NAME TYPE NOMINALCONCURRENCYSHARES QUEUES HANDSIZE QUEUELENGTHLIMIT AGE", ""),
    "ingressclasses.networking.k8s.io": ("NAME CONTROLLER PARAMETERS AGE", ""),
    "ingresses.networking.k8s.io": ("NAME CLASS HOSTS ADDRESS PORTS AGE", ""),
    "ipaddresses.networking.k8s.io": ("NAME PARENTREF", ""),
    "networkpolicies.networking.k8s.io": ("NAME POD-SELECTOR AGE", ""),
    "servicecidrs.networking.k8s.io": ("NAME CIDRS AGE", ""),
    "runtimeclasses.node.k8s.io": ("NAME HANDLER AGE", ""),
    "poddisruptionbudgets.policy": ("NAME MIN_AVAILABLE MAX_UNAVAILABLE ALLOWED_DISRUPTIONS AGE", ""),
    "clusterrolebindings.rbac.authorization.k8s.io": ("NAME ROLE AGE", SUBJECTS),
    "clusterroles.rbac.authorization.k8s.io": ("NAME CREATED_AT", ""),
    "rolebindings.rbac.authorization.k8s.io": ("NAME ROLE AGE", SUBJECTS),
    "roles.rbac.authorization.k8s.io": ("NAME CREATED_AT", ""),
    "deviceclasses.resource.k8s.io": ("NAME AGE", ""),
    "resourceclaims.resource.k8s.io": ("NAME STATE AGE", ""),
    "resourceclaimtemplates.resource.k8s.io": ("NAME AGE", ""),
    "resourceslices.resource.k8s.io": ("NAME NODE DRIVER POOL AGE", ""),
    "priorityclasses.scheduling.k8s.io": ("NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY", ""),
    "csidrivers.storage.k8s.io": ("NAME ATTACHREQUIRED PODINFOONMOUNT STORAGECAPACITY TOKENREQUESTS REQUIRESREPUBLISH MODES AGE", ""),
    "csinodes.storage.k8s.io": ("NAME DRIVERS AGE", ""),
    "csistoragecapacities.storage.k8s.io": ("NAME STORAGECLASSNAME CAPACITY", ""),
    "storageclasses.storage.k8s.io": ("NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE", ""),
    "volumeattachments.storage.k8s.io": ("NAME ATTACHER PV NODE ATTACHED AGE", ""),
    "volumeattributesclasses.storage.k8s.io": ("NAME DRIVERNAME AGE", ""),
}

LISTED = [one for one in RESOURCES if "list" in one.verbs]
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def test_every_kind_that_can_be_listed_is_here():
    assert {one.group_resource for one in LISTED} == set(COLUMNS)


@pytest.mark.parametrize("resource", LISTED, ids=lambda one: f"{one.group_resource}-{one.version}")
def test_headings(admin, resource):
    table = admin.ask(f"{resource.path()}?limit=1", accept=TABLE)
    always, wide = COLUMNS[resource.group_resource]
    assert [column["name"].upper().replace(" ", "_") for column in table["columnDefinitions"] if column["priority"] == 0] == always.split()
    assert [column["name"].upper().replace(" ", "_") for column in table["columnDefinitions"] if column["priority"] > 0] == wide.split()
    assert {column["name"]: column["format"] for column in table["columnDefinitions"]}.get("Name") == "name"


def test_all_of_them_by_kubectl(admin):
    """One kubectl that gets one kind after the other: an empty list prints no heading, which the server's answer has."""
    kinds = ",".join(sorted(COLUMNS))
    done = admin.run("get", kinds, "--all-namespaces", "-o", "wide")
    assert done.returncode == 0, done.stderr
    headings = [line.split() for line in done.stdout.splitlines() if "NAME " in line and line.split()[0] in ("NAMESPACE", "NAME")]
    assert ["NAMESPACE", "NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"] in headings
    assert ["NAME", "ROLE", "AGE", *SUBJECTS.split()] in [heading[-6:] for heading in headings]


def test_a_scale(kubectl):
    kubectl("create", "deployment", "web", "--image=nginx", "--replicas=3")
    heading, row = kubectl.table("get", "deployment", "web", "--subresource=scale")
    assert (heading, row[:3]) == (["NAME", "DESIRED", "AVAILABLE", "AGE"], ["web", "3", "0"])
