"""`python -m k8sfromscratch.components.scheduler`"""

from k8sfromscratch.components.scheduler.app import run
from k8sfromscratch.components.scheduler.config import SchedulerFlags
from k8sfromscratch.process.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service("kube-scheduler", SchedulerFlags, run))
