"""The roles a machine can have.  One package a role, with one `@deploy` function named after it; `deploy.py` says who gets which, and when.

A role states what a machine should look like; the operations of `roles.lib` read what it looks like (facts), compare, and yield only the
commands that are missing.  So a second run yields none, and pyinfra's dry run tells the truth.  The rule for restarts is in
`roles.lib.services`.
"""
