"""What every controller decides: `plan(observed, …, now) -> Plan`, one module a controller, no I/O.

`plan.py` is the vocabulary that all of them speak, `objects.py` and `times.py` read API objects.  Watching, executing, retrying and
counting are the business of `components.controller_manager`.
"""
