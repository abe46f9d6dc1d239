"""What the network components decide: overlay entries (flannel), packet rules (kube-proxy), DNS answers."""
