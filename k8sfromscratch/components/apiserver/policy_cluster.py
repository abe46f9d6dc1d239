"""The default policy: roles for people, for the system's components, for the public; and who has them.

Names and rights are upstream's (plugin/pkg/auth/authorizer/rbac/bootstrappolicy), less what is of groups that are not served.
`flannel` is ours: the overlay runs with a certificate of its own, as a service on each node.
"""

from k8sfromscratch.components.apiserver.policy import (
    OWN,
    READ,
    WRITE,
    Item,
    account,
    aggregated_role,
    binding,
    cluster_binding,
    cluster_role,
    events,
    group,
    role,
    rule,
    urls,
    user,
)

_AUTHENTICATION, _AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"
_CERTIFICATES, _COORDINATION, _DISCOVERY = "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io"
_NETWORKING, _STORAGE, _RBAC = "networking.k8s.io", "storage.k8s.io", "rbac.authorization.k8s.io"

AUTHENTICATED, UNAUTHENTICATED = group("system:authenticated"), group("system:unauthenticated")
CONTROLLER_MANAGER, SCHEDULER = user("system:kube-controller-manager"), user("system:kube-scheduler")

_delegates = (rule("create", _AUTHENTICATION, "tokenreviews"), rule("create", _AUTHORIZATION, "subjectaccessreviews"))
"""For whoever lets the apiserver authenticate and authorize for them."""

PEOPLE: tuple[Item, ...] = (
    cluster_role("cluster-admin", rule("*", "*", "*"), urls("*", "*")),
    aggregated_role("admin"),
    aggregated_role("edit", joins="admin"),
    aggregated_role("view", joins="edit"),
    cluster_role(
        "system:aggregate-to-admin",
        rule("create", _AUTHORIZATION, "localsubjectaccessreviews"),
        rule(OWN, _RBAC, "rolebindings roles"),
        joins="admin",
    ),
    cluster_role(
        "system:aggregate-to-edit",
        rule(READ, "", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
        rule("impersonate", "", "serviceaccounts"),
        rule(WRITE, "", "pods pods/attach pods/exec pods/portforward pods/proxy"),
        rule("create", "", "pods/eviction serviceaccounts/token"),
        rule(WRITE, "", "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services"),
        rule(WRITE, "", "services/proxy"),
        rule(WRITE, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"),
        rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
        rule(WRITE, "batch", "cronjobs jobs"),
        rule(WRITE, "policy", "poddisruptionbudgets"),
        rule(WRITE, _NETWORKING, "ingresses networkpolicies"),
        rule(OWN, _COORDINATION, "leases"),
        joins="edit",
    ),
    cluster_role(
        "system:aggregate-to-view",
        rule(READ, "", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers"),
        rule(READ, "", "replicationcontrollers/scale serviceaccounts services services/status"),
        rule(READ, "", "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status"),
        rule(READ, "", "resourcequotas resourcequotas/status namespaces"),
        rule(READ, _DISCOVERY, "endpointslices"),
        rule(READ, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status"),
        rule(READ, "apps", "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"),
        rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
        rule(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
        rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
        rule(READ, _NETWORKING, "ingresses ingresses/status networkpolicies"),
        joins="view",
    ),
    cluster_binding("cluster-admin", group("system:masters")),
)

PUBLIC: tuple[Item, ...] = (
    cluster_role("system:discovery", urls("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")),
    cluster_role(
        "system:basic-user",
        rule("create", _AUTHORIZATION, "selfsubjectaccessreviews selfsubjectrulesreviews"),
        rule("create", _AUTHENTICATION, "selfsubjectreviews"),
    ),
    cluster_role("system:public-info-viewer", urls("get", "/healthz /livez /readyz /version /version/")),
    cluster_role(
        "system:service-account-issuer-discovery", urls("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks")
    ),
    cluster_role("system:monitoring", urls("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")),
    cluster_binding("system:discovery", AUTHENTICATED),
    cluster_binding("system:basic-user", AUTHENTICATED),
    cluster_binding("system:public-info-viewer", AUTHENTICATED, UNAUTHENTICATED),
    cluster_binding("system:service-account-issuer-discovery", group("system:serviceaccounts")),
    cluster_binding("system:monitoring", group("system:monitoring")),
)

COMPONENTS: tuple[Item, ...] = (
    cluster_role(
        "system:kube-scheduler",
        events(),
        rule("create", _COORDINATION, "leases"),
        rule("get list watch", _COORDINATION, "leases"),
        rule("get update patch", _COORDINATION, "leases", "kube-scheduler"),
        rule(READ, "", "nodes namespaces persistentvolumeclaims persistentvolumes replicationcontrollers services"),
        rule("delete get list watch", "", "pods"),
        rule("create", "", "bindings pods/binding"),
        rule("patch update", "", "pods/status"),
        rule(READ, "apps", "replicasets statefulsets"),
        rule(READ, "policy", "poddisruptionbudgets"),
        rule(READ, _STORAGE, "csidrivers csinodes csistoragecapacities volumeattachments"),
        rule(READ, "scheduling.k8s.io", "priorityclasses"),
        *_delegates,
    ),
    cluster_role(
        "system:volume-scheduler",
        rule("get list patch update watch", "", "persistentvolumes persistentvolumeclaims"),
        rule(READ, _STORAGE, "storageclasses"),
    ),
    cluster_role(
        "system:kube-controller-manager",
        events(),
        rule("create", _COORDINATION, "leases"),
        rule("get update", _COORDINATION, "leases", "kube-controller-manager"),
        rule("create", "", "secrets serviceaccounts serviceaccounts/token"),
        rule("delete", "", "secrets"),
        rule("get", "", "configmaps namespaces secrets serviceaccounts"),
        rule("update", "", "secrets serviceaccounts"),
        rule("list watch", "*", "*"),
        *_delegates,
    ),
    cluster_role(
        "system:node",
        rule("create", _AUTHENTICATION, "tokenreviews"),
        rule("create", _AUTHORIZATION, "localsubjectaccessreviews subjectaccessreviews"),
        rule(READ, "", "services configmaps secrets"),
        rule("create get list watch patch update", "", "nodes"),
        rule("patch update", "", "nodes/status pods/status"),
        rule("create patch update", "", "events"),
        rule("get list watch create delete", "", "pods"),
        rule("create", "", "pods/eviction serviceaccounts/token"),
        rule("get", "", "endpoints persistentvolumeclaims persistentvolumes serviceaccounts"),
        rule("get patch update", "", "persistentvolumeclaims/status"),
        rule("create get list watch", _CERTIFICATES, "certificatesigningrequests"),
        rule("create delete get patch update", _COORDINATION, "leases"),
        rule("get", _STORAGE, "volumeattachments"),
        rule(READ, _STORAGE, "csidrivers"),
        rule("create delete get patch update", _STORAGE, "csinodes"),
        rule(READ, "node.k8s.io", "runtimeclasses"),
    ),
    cluster_role(
        "system:node-proxier",
        rule("list watch", "", "endpoints services"),
        rule(READ, "", "nodes"),
        rule("list watch", _DISCOVERY, "endpointslices"),
        events(),
    ),
    cluster_role("system:node-problem-detector", rule("get", "", "nodes"), rule("patch", "", "nodes/status"), events()),
    cluster_role("system:node-bootstrapper", rule("create get list watch", _CERTIFICATES, "certificatesigningrequests")),
    cluster_role("system:auth-delegator", *_delegates),
    cluster_role("system:kube-aggregator", rule(READ, "", "endpoints services")),
    cluster_role("system:kubelet-api-admin", rule(f"{READ} proxy", "", "nodes"), rule("*", "", "nodes/log nodes/metrics nodes/proxy nodes/stats")),
    cluster_role("system:kube-dns", rule("list watch", "", "endpoints services"), rule("list watch", _DISCOVERY, "endpointslices")),
    cluster_role(
        "system:persistent-volume-provisioner",
        rule("create delete get list watch", "", "persistentvolumes"),
        rule("get list update watch", "", "persistentvolumeclaims"),
        rule(READ, _STORAGE, "storageclasses"),
        rule("watch", "", "events"),
        events(),
    ),
    *(
        cluster_role(f"system:certificates.k8s.io:{signer}-approver", rule("approve", _CERTIFICATES, "signers", f"kubernetes.io/{signer}"))
        for signer in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")
    ),
    *(
        cluster_role(f"system:certificates.k8s.io:certificatesigningrequests:{kind}", rule("create", _CERTIFICATES, f"certificatesigningrequests/{kind}"))
        for kind in ("nodeclient", "selfnodeclient")
    ),
    cluster_role("flannel", rule(READ, "", "nodes"), rule("get", "", "pods"), rule("patch", "", "nodes nodes/status"), events()),
    cluster_binding("system:kube-scheduler", SCHEDULER),
    cluster_binding("system:volume-scheduler", SCHEDULER),
    cluster_binding("system:kube-controller-manager", CONTROLLER_MANAGER),
    cluster_binding("system:node-proxier", user("system:kube-proxy")),
    cluster_binding("system:kube-dns", account("kube-system", "kube-dns")),
    cluster_binding("system:node"),  # of nobody: nodes have the Node authorizer
    cluster_binding("flannel", user("system:flannel")),
)

NAMESPACED: tuple[Item, ...] = (
    role("kube-system", "extension-apiserver-authentication-reader", rule(READ, "", "configmaps", "extension-apiserver-authentication")),
    role("kube-system", "system::leader-locking-kube-controller-manager", rule("get update", _COORDINATION, "leases", "kube-controller-manager")),
    role("kube-system", "system::leader-locking-kube-scheduler", rule("get update", _COORDINATION, "leases", "kube-scheduler")),
    role("kube-system", "system:controller:bootstrap-signer", rule(READ, "", "secrets")),
    role("kube-system", "system:controller:token-cleaner", rule("delete get list watch", "", "secrets"), events()),
    role("kube-public", "system:controller:bootstrap-signer", rule(READ, "", "configmaps"), rule("update", "", "configmaps", "cluster-info"), events()),
    binding(
        "kube-system",
        "extension-apiserver-authentication-reader",
        CONTROLLER_MANAGER,
        SCHEDULER,
        name="system::extension-apiserver-authentication-reader",
    ),
    binding("kube-system", "system::leader-locking-kube-controller-manager", CONTROLLER_MANAGER, account("kube-system", "kube-controller-manager")),
    binding("kube-system", "system::leader-locking-kube-scheduler", SCHEDULER, account("kube-system", "kube-scheduler")),
    binding("kube-system", "system:controller:bootstrap-signer", account("kube-system", "bootstrap-signer")),
    binding("kube-system", "system:controller:token-cleaner", account("kube-system", "token-cleaner")),
    binding("kube-public", "system:controller:bootstrap-signer", account("kube-system", "bootstrap-signer")),
)
