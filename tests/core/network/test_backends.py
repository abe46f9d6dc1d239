"""Where a new connection goes, what a check's answer changes, and whose connections are cut."""

import pytest

from k8sfromscratch.core.network.backends import SILENCES_MAX, Answer, Backend, State, checked, not_reached, order, to_cut


def names(backends: list[Backend]) -> list[str]:
    return [backend.address for backend in backends]


def three(*states: State, connections: tuple[int, ...] = (0, 0, 0)) -> list[Backend]:
    return [Backend(name, state, used) for name, state, used in zip("abc", states, connections, strict=True)]


def test_equals_take_turns() -> None:
    backends = three(State.READY, State.READY, State.UNKNOWN)
    assert [names(order(backends, turn))[0] for turn in range(4)] == ["a", "b", "c", "a"]


def test_the_least_used_comes_first_and_the_unwell_last_whatever_they_have() -> None:
    backends = three(State.READY, State.GONE, State.READY, connections=(5, 0, 2))
    assert names(order(backends, 0)) == ["c", "a", "b"]
    assert names(order(three(State.GONE, State.NOT_READY, State.GONE), 1)) == ["b", "c", "a"], "where none is well, all are tried"


def test_one_lost_answer_changes_nothing_and_an_answer_forgives_it() -> None:
    backend = Backend("a", State.READY)
    for _ in range(SILENCES_MAX * 2):
        assert [checked(backend, Answer.NONE) for _ in range(SILENCES_MAX - 1)] == [False] * (SILENCES_MAX - 1)
        assert not checked(backend, Answer.READY)
    assert backend.state is State.READY


def test_silence_is_gone_and_any_answer_is_back() -> None:
    backend = Backend("a", State.READY)
    assert [checked(backend, Answer.NONE) for _ in range(SILENCES_MAX + 1)] == [False] * (SILENCES_MAX - 1) + [True, False]
    assert backend.state is State.GONE
    assert checked(backend, Answer.NOT_READY) and not backend.well
    assert checked(backend, Answer.READY) and backend.well


def test_one_that_takes_no_connection_is_gone_until_it_answers() -> None:
    backend = Backend("a", State.READY)
    assert not_reached(backend) and not not_reached(backend)
    assert not checked(backend, Answer.NONE)
    assert checked(backend, Answer.READY)


@pytest.mark.parametrize(
    ("states", "cut"),
    [
        ((State.READY, State.GONE, State.NOT_READY), ["b"]),
        ((State.NOT_READY, State.GONE, State.GONE), []),
        ((State.UNKNOWN, State.GONE, State.UNKNOWN), []),
        ((State.READY, State.NOT_READY, State.READY), []),
    ],
)
def test_connections_are_cut_only_of_the_gone_and_only_where_another_is_ready(states: tuple[State, ...], cut: list[str]) -> None:
    assert names(to_cut(three(*states, connections=(1, 1, 1)))) == cut
    assert to_cut(three(*states)) == [], "without connections there is nothing to cut"


def test_nothing_is_cut_while_the_others_may_be_gone_too() -> None:
    backends = three(State.READY, State.READY, State.READY, connections=(1, 1, 1))
    for backend in backends:
        checked(backend, Answer.NONE)
    assert checked(backends[0], Answer.NONE) and to_cut(backends) == []
    checked(backends[1], Answer.READY)
    assert names(to_cut(backends)) == ["a"]
