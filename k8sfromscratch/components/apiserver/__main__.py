"""`python -m k8sfromscratch.components.apiserver`"""

from k8sfromscratch.components.apiserver.app import run
from k8sfromscratch.components.apiserver.config import ApiServerFlags
from k8sfromscratch.process.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service("kube-apiserver", ApiServerFlags, run))
