"""The wiring of each controller: which caches it reads, what wakes it, and which `core.reconcile` function decides."""
