"""`python -m k8sfromscratch.components.balancer`"""

from k8sfromscratch.components.balancer.app import run
from k8sfromscratch.components.balancer.config import BalancerFlags
from k8sfromscratch.process.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service("apiserver-balancer", BalancerFlags, run))
