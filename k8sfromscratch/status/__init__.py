"""`kfs status`: a cluster at a glance, from what its API tells and what its certificates say.

    observe(client, …) ─► ClusterStatus ─► draw(status, console)

`gather` asks, `view` draws; the value between them is all that one needs of the other.
"""
