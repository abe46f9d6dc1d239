"""What the roles read of the cluster.  Paths are on the control host: keep `pki_directory` safe, it holds the authorities' keys."""

cluster_name = "example"
cluster_domain = "cluster.local"
pod_cidr = "10.244.0.0/16"
service_cidr = "10.96.0.0/16"
node_port_range = "30000-32767"
api_address = "192.0.2.11"
api_service_address = "10.96.0.1"
dns_address = "10.96.0.10"
node_monitor_grace_period_s = 40.0
pki_directory = "example-pki"
admin_kubeconfig = "example-pki/admin.kubeconfig"
