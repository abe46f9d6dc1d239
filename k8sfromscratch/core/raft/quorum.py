"""Majorities, of one set of voters and of two at once (§5.2, joint consensus: §6)."""

from collections.abc import Callable, Collection, Mapping


def majority(voters: Collection[int]) -> int:
    return len(voters) // 2 + 1


def committed(voters: Collection[int], match: Callable[[int], int]) -> int | None:
    """The greatest index that a majority has; None, no limit, of no voters."""
    if not voters:
        return None
    return sorted((match(each) for each in voters), reverse=True)[majority(voters) - 1]


def joint_committed(incoming: Collection[int], outgoing: Collection[int], match: Callable[[int], int]) -> int:
    """What both majorities have: an index counts only when each of the two would commit it by itself."""
    found = [index for index in (committed(incoming, match), committed(outgoing, match)) if index is not None]
    return min(found, default=0)


def vote_result(voters: Collection[int], votes: Mapping[int, bool]) -> bool | None:
    """True won, False lost, None not decided.  Of no voters: won, so that a joint configuration with an empty half is the other half."""
    if not voters:
        return True
    yes = sum(votes.get(each) is True for each in voters)
    no = sum(votes.get(each) is False for each in voters)
    if yes >= majority(voters):
        return True
    return False if len(voters) - no < majority(voters) else None


def joint_vote_result(incoming: Collection[int], outgoing: Collection[int], votes: Mapping[int, bool]) -> bool | None:
    halves = vote_result(incoming, votes), vote_result(outgoing, votes)
    if False in halves:
        return False
    return None if None in halves else True
