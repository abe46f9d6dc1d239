"""`python -m k8sfromscratch.components.kubelet`."""

import sys

from k8sfromscratch.components.kubelet.app import run
from k8sfromscratch.components.kubelet.config import KubeletFlags
from k8sfromscratch.process.service import run_service

sys.exit(run_service("kubelet", KubeletFlags, run))
