"""`python -m k8sfromscratch.components.controller_manager --kubeconfig …`"""

import sys

from k8sfromscratch.components.controller_manager.app import run
from k8sfromscratch.components.controller_manager.config import ControllerManagerFlags
from k8sfromscratch.process.service import run_service

if __name__ == "__main__":
    sys.exit(run_service("kube-controller-manager", ControllerManagerFlags, run))
