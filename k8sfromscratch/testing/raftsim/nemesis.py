"""What breaks in a run, and when: crashes, cut links, changes of members, all drawn from the seed.

`Nemesis` does everything at any time.  A joint configuration is there for a moment only, so that it hardly ever meets one; `Upheaval` is made for it:

    voters {1,2,3}, 1 leads ─► "remove 2 3, add 4 5" goes out to all
                               now 2 3 are heard, but hear nothing: they acknowledge the change and do not learn that it is committed
    1 is in {1,4,5} & {1,2,3}; 2 3 in {1,2,3}, of which they are a majority: whatever 1 commits or is granted without one of them is lost
"""

from collections.abc import Callable
from random import Random

from k8sfromscratch.core.raft.types import ConfChangeRefused, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ProposalDropped
from k8sfromscratch.testing.raftsim.member import Member
from k8sfromscratch.testing.raftsim.world import MEMBERS, STORM_UNTIL, World


class Nemesis:
    pause = (20, 250)

    def __init__(self, world: World) -> None:
        self.world, self.random = world, Random(world.random.getrandbits(32))
        world.at(250, self._act)

    def _act(self) -> None:
        world = self.world
        if world.now >= STORM_UNTIL:
            return
        world.at(self.random.randint(*self.pause), self._act)
        moves = self.moves()
        self.random.choices(list(moves), list(moves.values()))[0]()

    def moves(self) -> dict[Callable[[], None], int]:
        """How often each."""
        return {
            self._crash: 4, self._power_loss: 1, self._partition: 3, self._one_way: 2, self._heal: 4, self._change: 3, self._transfer: 2,
            self._compact: 4, self._isolate_leader: 3,
        }  # fmt: skip

    def _crash(self) -> None:
        number = self.random.choice(MEMBERS)
        self.world.crash(number)
        self.world.at(self.random.randint(5, 400), lambda: self.world.start(number))

    def _power_loss(self) -> None:
        for number in MEMBERS:
            self.world.crash(number)
            self.world.at(self.random.randint(5, 100), lambda number=number: self.world.start(number))  # type: ignore[misc]

    def _partition(self) -> None:
        side = {each for each in MEMBERS if self.random.random() < 0.5}
        self.world.cut = {(a, b) for a in MEMBERS for b in MEMBERS if (a in side) != (b in side)}

    def _isolate_leader(self) -> None:
        leaders = [each.id for each in self.world.members.values() if each.node.lead == each.id]
        if leaders:
            alone = self.random.choice(leaders)
            self.world.cut = {(a, b) for a in MEMBERS for b in MEMBERS if (a == alone) != (b == alone)}

    def _one_way(self) -> None:
        self.world.cut.add((self.random.choice(MEMBERS), self.random.choice(MEMBERS)))

    def _heal(self) -> None:
        self.world.cut.clear()

    def _transfer(self) -> None:
        for each in list(self.world.members.values()):
            if each.lead():
                each.node.transfer_leadership(self.random.choice(MEMBERS))
                self.world.pump(each)

    def _compact(self) -> None:
        for number in sorted(self.world.members):
            if self.random.random() < 0.5:
                self.world.members[number].checkpoint()

    def _change(self) -> None:
        kinds = (ConfChangeType.ADD_NODE, ConfChangeType.ADD_NODE, ConfChangeType.REMOVE_NODE, ConfChangeType.ADD_LEARNER_NODE)
        numbers = self.random.sample(MEMBERS, self.random.choice((1, 1, 2, 3)))
        changes = tuple(ConfChangeSingle(self.random.choice(kinds), number) for number in numbers)
        transition = self.random.choice((ConfChangeTransition.AUTO, ConfChangeTransition.JOINT_IMPLICIT))
        for each in list(self.world.members.values()):
            if each.lead():
                self._propose(each, ConfChangeV2(changes, transition))

    def _propose(self, leader: Member, change: ConfChangeV2) -> bool:
        try:
            leader.node.propose_conf_change(change)
        except (ProposalDropped, ConfChangeRefused):
            return False
        self.world.pump(leader)
        return True


class Upheaval(Nemesis):
    """Joint changes that replace most of the voters, with a partition or a crash right then."""

    pause = (100, 500)

    def moves(self) -> dict[Callable[[], None], int]:
        return {
            self._swap: 2, self._swap_and_split: 6, self._swap_and_crash: 3, self._leave: 3, self._heal: 4, self._crash: 2, self._power_loss: 1,
            self._transfer: 1, self._compact: 2,
        }  # fmt: skip

    def _begin_swap(self) -> tuple[Member, set[int]] | None:
        """Who leads, and its fellow voters that are to go; all that were not voters come in their place."""
        leaders = [each for each in self.world.members.values() if each.lead() and each.id in each.conf.voters]
        if not leaders:
            return None
        leader = self.random.choice(leaders)
        out, come = set(leader.conf.voters) - {leader.id}, sorted(set(MEMBERS) - set(leader.conf.voters))
        leave_type = self.random.choice((ConfChangeType.REMOVE_NODE, ConfChangeType.ADD_LEARNER_NODE))
        changes = [ConfChangeSingle(leave_type, number) for number in sorted(out)]
        changes += [ConfChangeSingle(ConfChangeType.ADD_NODE, number) for number in come]
        transition = self.random.choice((ConfChangeTransition.JOINT_IMPLICIT, ConfChangeTransition.JOINT_EXPLICIT))
        return (leader, out) if self._propose(leader, ConfChangeV2(tuple(changes), transition)) else None

    def _swap(self) -> None:
        self._begin_swap()

    def _swap_and_split(self) -> None:
        """What is on its way arrives, and answers do; nothing else reaches those who are to go."""
        self._heal()
        if (begun := self._begin_swap()) is not None:
            _, out = begun
            self.world.cut = {(a, b) for a in MEMBERS for b in MEMBERS if a not in out and b in out}
            self.world.at(self.random.randint(300, 800), self._heal)

    def _swap_and_crash(self) -> None:
        if (begun := self._begin_swap()) is not None:
            leader, out = begun
            numbers = [leader.id, *self.random.sample(sorted(out), self.random.randint(0, len(out)))]
            self.world.at(self.random.randint(1, 3 * self.world.delay_max), lambda: self._crash_these(numbers))

    def _crash_these(self, numbers: list[int]) -> None:
        for number in numbers:
            self.world.crash(number)
            self.world.at(self.random.randint(5, 400), lambda number=number: self.world.start(number))  # type: ignore[misc]

    def _leave(self) -> None:
        for each in list(self.world.members.values()):
            if each.lead() and each.conf.voters_outgoing:
                self._propose(each, ConfChangeV2())
