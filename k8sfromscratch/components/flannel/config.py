"""flanneld's settings, as far as they mean something here.  The subnet manager is always Kubernetes (`--kube-subnet-mgr`)."""

import ipaddress

from pydantic import Field, field_validator

from k8sfromscratch.process.flags import Duration, Flags


class FlannelFlags(Flags):
    kubeconfig_file: str = Field(description="kubeconfig file with the apiserver's address and our credentials")
    node_name: str = Field(description="name of this machine's Node")
    public_ip: str = Field("", description="address of this machine that other nodes reach; default: the node's InternalIP")
    cluster_cidr: str = Field("10.244.0.0/16", description="range of all pods' addresses")
    vni: int = Field(1, ge=1, le=0xFFFFFF, description="VXLAN network identifier")
    vxlan_port: int = Field(8472, ge=1, le=65535, description="UDP port of the overlay")
    ip_masq: bool = Field(True, description="give pods' traffic to the outside the node's address")
    iptables_forward_rules: bool = Field(True, description="let pods' traffic through iptables' FORWARD chain, whatever its policy")
    subnet_file: str = Field("/run/flannel/subnet.env", description="where the subnet and MTU are written for others")
    cni_conf_file: str = Field("/etc/cni/net.d/10-flannel.conflist", description="CNI network written once the overlay stands")
    healthz_ip: str = Field("127.0.0.1", description="where /healthz and /metrics listen")
    healthz_port: int = Field(10247, ge=0, le=65535, description="port of /healthz and /metrics; 0 turns them off")
    iptables_resync: Duration = Field(5.0, gt=0, description="time between checks that rules and entries are still in place")

    @field_validator("cluster_cidr")
    @classmethod
    def _network(cls, value: str) -> str:
        return str(ipaddress.IPv4Network(value))
