"""Time and checkpoints of leases."""

import pytest

from k8sfromscratch.core.mvcc.errors import LeaseNotFound
from k8sfromscratch.core.mvcc.lease import Leases, Life


@pytest.fixture
def leases() -> Leases:
    made = Leases()
    made.grant(1, 600, now=0.0)
    made.grant(2, 60, now=0.0)
    return made


def test_only_long_leases_that_have_lost_time_are_marked(leases: Leases) -> None:
    leases.grant(3, 600, now=99.5)
    assert leases.to_checkpoint(100.0, longer_than_s=300) == {1: 500}  # 2 is short, 3 has its whole time, rounded up
    assert leases.to_checkpoint(700.0, longer_than_s=300) == {}  # both are over


def test_a_new_leader_goes_on_from_the_mark(leases: Leases) -> None:
    leases.checkpoint(1, 500)
    leases.promote(1000.0)
    assert (leases.get(1).expires_at, leases.get(2).expires_at) == (1500.0, 1060.0)
    leases.checkpoint(1, 0)
    leases.promote(1000.0)
    assert leases.get(1).expires_at == 1600.0


def test_a_mark_of_a_lease_that_is_gone_is_nothing(leases: Leases) -> None:
    leases.revoke(1)
    leases.checkpoint(1, 500)
    assert 1 not in leases
    with pytest.raises(LeaseNotFound):
        leases.get(1)


def test_marks_are_kept(leases: Leases) -> None:
    leases.checkpoint(1, 500)
    assert leases.lives() == {1: Life(600, 500), 2: Life(60, 0)}
    again = Leases()
    again.restore(leases.lives(), now=5.0)
    assert again.lives() == leases.lives()
