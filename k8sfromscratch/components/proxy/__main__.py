"""`python -m k8sfromscratch.components.proxy`"""

from k8sfromscratch.components.proxy.app import run
from k8sfromscratch.components.proxy.config import ProxyFlags
from k8sfromscratch.process.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service("kube-proxy", ProxyFlags, run))
