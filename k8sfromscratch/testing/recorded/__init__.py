"""Requests whose answers a real kube-apiserver gave once, to be asked of ours again and again.

    corpus      the requests: scenarios of steps, from YAML
    facts       what is kept of an answer: all but what is random or a clock's
    deviations  where ours may answer otherwise, and why

`tools/record_answers.py` plays the corpus against upstream, `tests/recorded/test_recorded_answers.py` against ours.
"""
