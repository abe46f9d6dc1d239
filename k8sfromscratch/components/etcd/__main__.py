"""`python -m k8sfromscratch.components.etcd`"""

from k8sfromscratch.components.etcd.app import run
from k8sfromscratch.components.etcd.config import EtcdFlags
from k8sfromscratch.process.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service("etcd", EtcdFlags, run))
