"""The scheduler's decisions: which node a pod goes to, and for every other node why not.

`pod` reads a pod once into what matters here, `cluster` keeps all nodes as numpy arrays, `filters`, `pod_affinity` and
`topology_spread` say yes or no for all nodes at once, `scores` ranks, `algorithm` puts them in upstream's order, `preemption`
finds whom to evict, `queue` says which pod is next and when.
"""
