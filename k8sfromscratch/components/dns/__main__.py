"""`python -m k8sfromscratch.components.dns`"""

from k8sfromscratch.components.dns.app import run
from k8sfromscratch.components.dns.config import DnsFlags
from k8sfromscratch.process.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service("dns", DnsFlags, run))
