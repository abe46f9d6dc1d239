"""Schedules held to a naive twin, and what a CronJob makes of them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from k8sfromscratch.core.reconcile import cron, cronjob
from k8sfromscratch.core.reconcile.plan import Create, Delete, Emit

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)  # a Sunday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", "2026-03-01 12:01"),
        ("*/15 * * * *", "2026-03-01 12:15"),
        ("5/20 * * * *", "2026-03-01 12:05"),
        ("0 0 * * *", "2026-03-02 00:00"),
        ("30 9-17/4 * * MON-FRI", "2026-03-02 09:30"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 13 * FRI", "2026-03-06 00:00"),
        ("0 0 1 * 7", "2026-03-08 00:00"),
        ("0 0 1,15 jan,Jul *", "2026-07-01 00:00"),
        ("@weekly", "2026-03-08 00:00"),
        ("@yearly", "2027-01-01 00:00"),
    ],
)
def test_the_next_minute(text, expected):
    assert cron.parse(text).next_after(START) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_day_that_never_comes():
    assert cron.parse("0 0 30 2 *").next_after(START) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("* * * *", "expected exactly 5 fields"),
        ("60 * * * *", "minute: 60 is not between 0 and 59"),
        ("* * 0 * *", "day of month: 0"),
        ("* * * FOO *", "month: 'FOO' is not a number"),
        ("9-5 * * * *", "ends before it begins"),
        ("*/0 * * * *", "minute: 0 is not between 1"),
        ("@every 5m", "expected exactly 5 fields"),
    ],
)
def test_wrong_schedules_are_refused_by_field(text, said):
    with pytest.raises(cron.InvalidSchedule, match=said):
        cron.parse(text)


def test_time_zones_and_clock_changes():
    berlin = ZoneInfo("Europe/Berlin")
    daily = cron.parse("30 2 * * *")
    # On 29 March 2026 the clocks go from 2:00 to 3:00, on 25 October from 3:00 back to 2:00.
    spring = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert daily.next_after(spring, berlin) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    autumn = datetime(2026, 10, 24, 12, tzinfo=UTC)
    first = daily.next_after(autumn, berlin)
    assert (first, daily.next_after(first, berlin)) == (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC))


number = st.integers(0, 59)
fields = st.tuples(
    st.one_of(st.just("*"), st.integers(0, 59).map(str), st.integers(1, 59).map(lambda n: f"*/{n}")),
    st.one_of(st.just("*"), st.integers(0, 23).map(str), st.tuples(st.integers(0, 11), st.integers(12, 23)).map(lambda p: f"{p[0]}-{p[1]}")),
    st.one_of(st.just("*"), st.integers(1, 31).map(str)),
    st.just("*"),
    st.one_of(st.just("*"), st.integers(0, 6).map(str)),
)


@settings(max_examples=150, deadline=None)
@given(fields, st.integers(0, 60 * 24 * 40))
def test_every_minute_is_found_that_a_naive_search_finds(parts, offset):
    schedule = cron.parse(" ".join(parts))
    start = START + timedelta(minutes=offset)
    both = parts[2] != "*" and parts[4] != "*"

    def named(moment):
        days = (moment.day in schedule.days, moment.isoweekday() % 7 in schedule.weekdays)
        return moment.minute in schedule.minutes and moment.hour in schedule.hours and (any(days) if both else all(days))

    window = [start + timedelta(minutes=i) for i in range(1, 60 * 24 * 9)]
    naive = [moment for moment in window if named(moment)]
    found = schedule.next_after(start)
    assert (found if found is not None and found <= window[-1] else None) == (naive[0] if naive else None)
    assert schedule.latest(start, window[-1]) == (naive[-1] if naive else None)
    assert schedule.count(start, window[-1], limit=50) == min(len(naive), 50)


def cron_job(make, schedule="*/10 * * * *", *, age_s=1000.0, status=None, **spec):
    template = {"metadata": {"labels": {"app": "tick"}}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": []}}}}
    body = {"schedule": schedule, "jobTemplate": template, "concurrencyPolicy": "Allow", **spec}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": make.meta("tick", age_s=age_s), "spec": body, "status": status or {}}


def job_of(make, name, *, ended=None, completed=None, age_s=600):
    status = {"conditions": [{"type": ended, "status": "True"}]} if ended else {}
    if completed:
        status["completionTime"] = completed
    return {"metadata": make.meta(name, age_s=age_s), "status": status}


def run(make, obj, jobs=(), after_s=0.0):
    return cronjob.plan(obj, list(jobs), UTC, make.later(after_s))


def test_starts_the_minute_that_is_due_under_a_name_of_its_own(make):
    plan = run(make, cron_job(make, age_s=300), after_s=1)
    (create,) = plan.steps
    assert isinstance(create, Create)
    assert create.object["metadata"]["name"] == f"tick-{int(make.now.timestamp()) // 60}"
    assert create.object["metadata"]["annotations"] == {"batch.kubernetes.io/cronjob-scheduled-timestamp": make.at(0)}
    assert create.object["metadata"]["labels"] == {"app": "tick"}
    assert plan.requeue_after_s == 599
    (update,) = plan.conclude(())
    assert update.object["status"] == {"lastScheduleTime": make.at(0)}
    assert plan.conclude(("refused",)) == (), "what was not started is still due"


def test_is_not_started_twice(make):
    assert run(make, cron_job(make, status={"lastScheduleTime": make.at(0)}), after_s=30).steps == ()
    there = job_of(make, f"tick-{int(make.now.timestamp()) // 60}")
    assert run(make, cron_job(make), [there], after_s=30).steps == ()


def test_only_the_latest_missed_minute_is_made_up_for(make):
    plan = run(make, cron_job(make, "* * * * *", age_s=86400), after_s=5)
    warning, create = plan.steps
    assert isinstance(warning, Emit) and warning.reason == "TooManyMissedTimes"
    assert create.object["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"] == make.at(0)


def test_what_is_missed_by_more_than_the_deadline_is_not_made_up_for(make):
    assert run(make, cron_job(make, startingDeadlineSeconds=60), after_s=61).steps == ()
    assert len(run(make, cron_job(make, startingDeadlineSeconds=60), after_s=59).steps) == 1


@pytest.mark.parametrize(("policy", "made", "deleted"), [("Allow", 1, 0), ("Forbid", 0, 0), ("Replace", 1, 1)])
def test_while_the_last_one_still_runs(make, policy, made, deleted):
    plan = run(make, cron_job(make, concurrencyPolicy=policy), [job_of(make, "tick-1")], after_s=1)
    assert sum(isinstance(s, Create) for s in plan.steps) == made
    assert sum(isinstance(s, Delete) for s in plan.steps) == deleted


def test_suspended_and_nonsensical_ones_start_nothing(make):
    assert run(make, cron_job(make, suspend=True), after_s=1).steps == ()
    (warning,) = run(make, cron_job(make, "nonsense"), after_s=1).steps
    assert warning.reason == "UnparseableSchedule"
    (warning,) = cronjob.plan(cron_job(make, timeZone="Mars/North"), [], None, make.now).steps
    assert warning.reason == "UnknownTimeZone"


def test_old_jobs_go_by_kind_and_the_ended_are_noted_once(make):
    done = [job_of(make, f"done-{i}", ended="Complete", completed=make.at(-i), age_s=100 * i) for i in (1, 2, 3, 4)]
    failed = [job_of(make, f"failed-{i}", ended="Failed", age_s=100 * i) for i in (1, 2)]
    active = [{"uid": done[0]["metadata"]["uid"], "name": "done-1"}]
    obj = cron_job(make, status={"lastScheduleTime": make.at(0), "active": active})
    plan = run(make, obj, [*done, *failed], after_s=1)
    assert [s.name for s in plan.steps if isinstance(s, Delete)] == ["done-4", "failed-2"]
    assert [s.message for s in plan.steps if isinstance(s, Emit)] == ["Saw completed job: done-1, condition: Complete"]
    (update,) = plan.conclude(())
    assert update.object["status"] == {"lastScheduleTime": make.at(0), "lastSuccessfulTime": make.at(-1)}
