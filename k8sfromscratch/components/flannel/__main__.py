"""`python -m k8sfromscratch.components.flannel`"""

import asyncio

from k8sfromscratch.components.flannel.app import run
from k8sfromscratch.components.flannel.config import FlannelFlags
from k8sfromscratch.process.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service("flanneld", FlannelFlags, run, new_event_loop=asyncio.new_event_loop))
