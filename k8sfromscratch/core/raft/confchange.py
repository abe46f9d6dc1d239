"""Who takes part, and how that changes: one voter at a time, or any number through a joint configuration (§6; thesis §4.1, §4.3).

simple    voters {1,2,3} ──add 4──► {1,2,3,4}                     two majorities that differ by one member overlap
joint     voters {1,2,3} ──remove 3, add 4──► {1,2,4} & {1,2,3} ──leave──► {1,2,4}
                                 both majorities are needed between; a voter that becomes a learner waits in `learners_next` till the end

invariant: a member is a voter of the incoming half or a learner, never both
invariant: `learners_next` holds only voters of the outgoing half
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from k8sfromscratch.core.raft.types import ConfChangeRefused, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState


@dataclass(slots=True)
class Configuration:
    voters: set[int] = field(default_factory=set)
    outgoing: set[int] = field(default_factory=set)
    learners: set[int] = field(default_factory=set)
    learners_next: set[int] = field(default_factory=set)
    auto_leave: bool = False

    @classmethod
    def of(cls, state: ConfState) -> "Configuration":
        return cls(set(state.voters), set(state.voters_outgoing), set(state.learners), set(state.learners_next), state.auto_leave)

    def conf_state(self) -> ConfState:
        def ordered(each: Iterable[int]) -> tuple[int, ...]:
            return tuple(sorted(each))

        return ConfState(ordered(self.voters), ordered(self.learners), ordered(self.outgoing), ordered(self.learners_next), self.auto_leave)

    @property
    def joint(self) -> bool:
        return bool(self.outgoing)

    @property
    def members(self) -> set[int]:
        return self.voters | self.outgoing | self.learners | self.learners_next

    def is_voter(self, member: int) -> bool:
        return member in self.voters or member in self.outgoing


def changed(old: Configuration, change: ConfChangeV2) -> Configuration:
    """The configuration after it.  Raises ConfChangeRefused, which is the same on every member, as they apply the same changes in the same order."""
    new = Configuration(set(old.voters), set(old.outgoing), set(old.learners), set(old.learners_next), old.auto_leave)
    if change.leaves_joint:
        if not old.joint:
            raise ConfChangeRefused("the configuration is not joint")
        new.learners |= new.learners_next
        new.outgoing, new.learners_next, new.auto_leave = set(), set(), False
        return new
    if old.joint:
        raise ConfChangeRefused("the configuration is joint: it must be left first")
    if change.joint:
        new.outgoing = set(old.voters)
        new.auto_leave = change.transition != ConfChangeTransition.JOINT_EXPLICIT
    for each in change.changes:
        _apply(new, each)
    if not new.voters:
        raise ConfChangeRefused("no voter would be left")
    if not change.joint and len(old.voters ^ new.voters) > 1:
        raise ConfChangeRefused("more than one voter changes: a joint change is needed")
    return new


def _apply(new: Configuration, change: ConfChangeSingle) -> None:
    member = change.node_id
    if not member or change.type == ConfChangeType.UPDATE_NODE:
        return
    match change.type:
        case ConfChangeType.ADD_NODE:
            new.learners.discard(member)
            new.learners_next.discard(member)
            new.voters.add(member)
        case ConfChangeType.ADD_LEARNER_NODE:
            new.voters.discard(member)
            (new.learners_next if member in new.outgoing else new.learners).add(member)
        case ConfChangeType.REMOVE_NODE:
            new.voters.discard(member)
            new.learners.discard(member)
            new.learners_next.discard(member)
