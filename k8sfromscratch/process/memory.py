"""The garbage collector of a process that lives long and serves much.

Python looks for cycles whenever 700 more objects were made than freed: a request makes a thousand, nearly all of which are freed by counting
references, so that looking took a twelfth of a create's time; and every full look walked through all that imports and schemas had made.
"""

import gc

YOUNG_MAX = 50_000
"""Objects between two looks: a few MB of cycles at worst."""
OLDER_EVERY = 20


def settle() -> None:
    """Called once a service has started: what is there now stays, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, OLDER_EVERY, OLDER_EVERY)
