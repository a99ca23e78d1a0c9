"""Every rule of the control plane, with `now` by hand: no clock, no socket."""

from typing import Any

import pytest
from fake_dataplane import FakeDataplane

from switch.admission import JoinRequest, Refusal
from switch.config import JobConfig, SwitchConfig
from switch.control import Control
from switch.events import Closing, Death, Joined, Left, Refused
from switch.protocol import Overflow

FIXED = JobConfig(job=2, workers=(("127.0.0.1", 6001),), num_slots=8, slot_bytes=256)


def request(rank: int = 0, **changes: Any) -> JoinRequest:
    fields: dict[str, Any] = {
        "job": "demo",
        "rank": rank,
        "num_workers": 2,
        "data": ("127.0.0.1", 5000 + rank),
    }
    return JoinRequest(**fields | changes)


def control(*jobs: JobConfig, **changes: Any) -> tuple[Control, FakeDataplane]:
    dataplane = FakeDataplane(*jobs)
    config = SwitchConfig(num_slots=1024, jobs=jobs, **changes)
    return Control(config, dataplane), dataplane


def begin(plane: Control, num_workers: int = 2, **changes: Any) -> list[int]:
    """All workers of a job join; their members, by rank."""
    return [
        plane.join(request(rank, num_workers=num_workers, **changes), 0.0)
        for rank in range(num_workers)
    ]


def refusal(plane: Control, asked: JoinRequest) -> str:
    """The reason for which `asked` is refused."""
    plane.take_events()
    member = plane.join(asked, 0.0)
    [(told, event)] = plane.take_events()
    assert told == member
    assert isinstance(event, Refused)
    assert not event.timed_out
    return event.reason


class TestJoin:
    def test_answers_when_all_are_there(self) -> None:
        plane, dataplane = control()
        first = plane.join(request(1), 0.0)
        assert plane.take_events() == []
        assert dataplane.jobs == {}
        second = plane.join(request(0), 1.0)
        events = dict(plane.take_events())
        assert set(events) == {first, second}
        joined = events[second]
        assert isinstance(joined, Joined)
        assert joined.member == second
        assert joined.job is dataplane.jobs[1]
        assert joined.job.workers == (("127.0.0.1", 5000), ("127.0.0.1", 5001))
        assert joined.data == ("127.0.0.1", 48864)
        assert joined.window == 512
        assert plane.next_timeout() is None

    def test_grants_what_was_asked(self) -> None:
        plane, dataplane = control()
        begin(plane, num_slots=4, slot_bytes=64, overflow=Overflow.SATURATE)
        job = dataplane.jobs[1]
        assert (job.num_slots, job.slot_bytes) == (4, 64)
        assert job.overflow is Overflow.SATURATE

    @pytest.mark.parametrize("switch", [True, False])
    @pytest.mark.parametrize("able", [(True, True), (True, False), (False, False)])
    def test_a_group_if_the_switch_and_all_workers_can(
        self, switch: bool, able: tuple[bool, bool]
    ) -> None:
        dataplane = FakeDataplane()
        plane = Control(SwitchConfig(), dataplane, multicast=switch)
        for rank, multicast in enumerate(able):
            plane.join(request(rank, multicast=multicast), 0.0)
        group = ("239.255.0.1", 48864) if switch and all(able) else None
        assert dataplane.jobs[1].group == group

    def test_one_worker_is_enough_for_a_job_of_one(self) -> None:
        plane, dataplane = control()
        begin(plane, num_workers=1)
        assert list(dataplane.jobs) == [1]

    def test_sixty_four_workers(self) -> None:
        plane, dataplane = control()
        begin(plane, num_workers=64)
        assert len(dataplane.jobs[1].workers) == 64

    def test_binds_one_spelling_of_an_address(self) -> None:
        plane, dataplane = control(address="::1")
        plane.join(request(num_workers=1, data=("0:0::0:1", 5000)), 0.0)
        assert dataplane.jobs[1].workers == (("::1", 5000),)

    def test_jobs_of_other_names_are_apart(self) -> None:
        plane, dataplane = control()
        begin(plane, job="a")
        begin(plane, job="b")
        assert list(dataplane.jobs) == [1, 2]

    def test_window_fits_the_receive_buffer(self) -> None:
        dataplane = FakeDataplane()
        plane = Control(SwitchConfig(), dataplane, receive_bytes=2 * 1040 * 100)
        begin(plane)
        windows = [event.window for _, event in plane.take_events()]  # type: ignore[union-attr]
        assert windows == [100, 100]


class TestRefused:
    def test_what_no_switch_grants(self) -> None:
        plane, dataplane = control()
        reason = refusal(plane, request(num_workers=65))
        assert reason == "num_workers 65: allowed are 1 to 64"
        assert dataplane.calls == []
        assert plane.next_timeout() is None

    def test_what_contradicts_the_others_harms_only_the_one_who_asks(self) -> None:
        plane, dataplane = control()
        plane.join(request(0), 0.0)
        reason = refusal(plane, request(1, num_workers=4))
        assert reason == "num_workers 4, but worker 0 said 2"
        plane.join(request(1), 0.0)
        assert list(dataplane.jobs) == [1]

    def test_slots_run_out(self) -> None:
        plane, _ = control(FIXED)
        begin(plane)
        reason = refusal(plane, request(job="late"))
        assert reason == "num_slots 512: 504 of the switch's 1024 slots are free"

    def test_slots_run_out_while_gathering(self) -> None:
        plane, dataplane = control()
        slow = {"job": "slow", "num_slots": 1024}
        first = plane.join(request(0, **slow), 0.0)
        members = begin(plane)
        reason = refusal(plane, request(1, **slow))
        assert reason == "num_slots 1024: 512 of the switch's 1024 slots are free"
        for member in members:
            plane.leave(member)
        plane.take_events()
        last = plane.join(request(1, **slow), 0.0)
        assert [member for member, _ in plane.take_events()] == [first, last]
        assert list(dataplane.jobs) == [2]

    def test_install_fails_for_all(self) -> None:
        dataplane = FakeDataplane(full=True)
        plane = Control(SwitchConfig(), dataplane)
        members = begin(plane)
        refused = Refused("no contiguous slots are left")
        assert plane.take_events() == [(member, refused) for member in members]
        dataplane.full = False
        begin(plane)
        assert list(dataplane.jobs) == [1]


class TestTimeout:
    def test_names_the_missing_ranks(self) -> None:
        plane, _ = control()
        member = plane.join(request(1, num_workers=4, timeout=5.0), 10.0)
        assert plane.next_timeout() == 15.0
        plane.on_timeout(14.9)
        assert plane.take_events() == []
        plane.on_timeout(15.0)
        text = "job 'demo': after 5 s 1 of 4 workers are there; missing: ranks 0, 2, 3"
        assert plane.take_events() == [(member, Refused(text, timed_out=True))]
        assert plane.next_timeout() is None

    def test_workers_that_are_late_together_do_not_miss_each_other(self) -> None:
        plane, _ = control()
        for rank in (0, 2):
            plane.join(request(rank, num_workers=3, timeout=5.0), 0.0)
        plane.on_timeout(5.0)
        reasons = [event.reason for _, event in plane.take_events()]  # type: ignore[union-attr]
        assert len(reasons) == 2
        assert all(reason.endswith("missing: rank 1") for reason in reasons)

    def test_who_gave_up_is_named_apart(self) -> None:
        plane, _ = control()
        plane.join(request(0, num_workers=3, timeout=5.0), 0.0)
        plane.join(request(1, num_workers=3, timeout=5.0), 1.0)
        plane.on_timeout(5.0)
        plane.take_events()
        plane.on_timeout(6.0)
        [(_, event)] = plane.take_events()
        assert isinstance(event, Refused)
        assert event.reason.endswith("missing: ranks 0, 2 (rank 0 came and went)")

    def test_a_waiting_worker_whose_stream_breaks_frees_its_rank(self) -> None:
        plane, dataplane = control()
        first = plane.join(request(0, num_slots=4), 0.0)
        plane.disconnect(first)
        begin(plane, num_slots=8)  # other terms: nothing of the first is left
        assert dataplane.jobs[1].num_slots == 8
        assert all(isinstance(event, Joined) for _, event in plane.take_events())


class TestParting:
    def test_the_others_hear_of_a_death(self) -> None:
        plane, dataplane = control()
        members = begin(plane, num_workers=3)
        plane.take_events()
        plane.disconnect(members[1])
        death = Death((1,), "worker 1 of job 'demo' died: connection lost")
        assert plane.take_events() == [(members[0], death), (members[2], death)]
        plane.disconnect(members[2])
        death = Death((1, 2), "workers 1, 2 of job 'demo' died: connection lost")
        assert plane.take_events() == [(members[0], death)]
        assert list(dataplane.jobs) == [1]

    def test_the_others_hear_who_left(self) -> None:
        plane, _ = control()
        members = begin(plane)
        plane.take_events()
        plane.leave(members[0])
        left = Left((0,), "worker 0 of job 'demo' left")
        assert plane.take_events() == [(members[1], left)]

    def test_the_end_of_a_stream_after_leave_is_no_death(self) -> None:
        plane, _ = control()
        members = begin(plane)
        plane.leave(members[0])
        plane.take_events()
        plane.disconnect(members[0])
        assert plane.take_events() == []

    def test_slots_live_until_every_worker_is_gone(self) -> None:
        plane, dataplane = control()
        members = begin(plane)
        plane.leave(members[0])
        assert list(dataplane.jobs) == [1]
        plane.disconnect(members[1])
        assert dataplane.calls == [("install", 1), ("remove", 1)]

    def test_no_job_touches_another(self) -> None:
        plane, dataplane = control()
        members = begin(plane, job="a", num_slots=4)
        begin(plane, job="b", num_slots=4)
        plane.take_events()
        for member in members:
            plane.disconnect(member)
        told = {member for member, _ in plane.take_events()}
        assert told == {members[1]}
        assert list(dataplane.jobs) == [2]

    def test_leave_of_a_stranger(self) -> None:
        plane, _ = control()
        with pytest.raises(Refusal, match="member 77 is in no job"):
            plane.leave(77)


class TestNames:
    def test_refused_while_the_job_runs(self) -> None:
        plane, _ = control()
        begin(plane)
        assert refusal(plane, request(0)) == (
            "job 'demo' is running (workers 0, 1): choose another name,"
            " or wait until every worker has left"
        )

    def test_joined_again_when_it_is_over(self) -> None:
        plane, dataplane = control()
        for _ in range(2):
            for member in begin(plane):
                plane.leave(member)
        assert dataplane.calls == [
            ("install", 1),
            ("remove", 1),
            ("install", 2),
            ("remove", 2),
        ]

    def test_quick_workers_gather_behind_a_job_that_ends(self) -> None:
        plane, dataplane = control()
        members = begin(plane)
        plane.leave(members[0])
        again = plane.join(request(0), 0.0)
        assert "is running (worker 1)" in refusal(plane, request(1))
        plane.leave(members[1])
        last = plane.join(request(1), 0.0)
        events = dict(plane.take_events())
        assert isinstance(events[again], Joined)
        assert isinstance(events[last], Joined)
        assert list(dataplane.jobs) == [2]


class TestJobIds:
    def test_skip_fixed_jobs_and_those_in_use(self) -> None:
        plane, dataplane = control(FIXED)
        begin(plane, job="a", num_slots=4)
        begin(plane, job="b", num_slots=4)
        assert list(dataplane.jobs) == [2, 1, 3]

    def test_wrap_around_and_are_not_reused_soon(self) -> None:
        plane, dataplane = control(FIXED)
        begin(plane, job="stays", num_slots=4)
        for _ in range(65534):
            [member] = begin(plane, num_workers=1, num_slots=4)
            plane.leave(member)
        installed = [job for call, job in dataplane.calls if call == "install"]
        assert installed == [1, *range(3, 65536), 3]


class TestFixedJobs:
    def test_are_the_data_plane_s_own_to_install(self) -> None:
        plane, dataplane = control(FIXED)
        plane.close()
        assert dataplane.calls == []

    def test_reset(self) -> None:
        plane, dataplane = control(FIXED)
        plane.reset(2)
        assert dataplane.calls[-1] == ("reset", 2)

    def test_reset_of_a_joined_job_is_refused(self) -> None:
        plane, dataplane = control()
        begin(plane)
        with pytest.raises(
            Refusal, match=r"job 1 \('demo'\) was joined by its workers"
        ):
            plane.reset(1)
        assert dataplane.calls == [("install", 1)]

    def test_reset_of_no_job(self) -> None:
        plane, _ = control(FIXED)
        begin(plane)
        text = "job 9 does not exist; jobs of this switch: 1, 2"
        with pytest.raises(Refusal, match=text):
            plane.reset(9)


def test_counters() -> None:
    plane, _ = control(FIXED)
    assert plane.counters() == {"accepted": 0}
    assert plane.counters(2) == {"accepted": 2}
    with pytest.raises(Refusal, match="job 3 does not exist; jobs of this switch: 2"):
        plane.counters(3)


def test_close_tells_everybody_and_ends_joined_jobs() -> None:
    plane, dataplane = control(FIXED)
    members = begin(plane)
    waiting = plane.join(request(0, job="other", num_slots=4), 0.0)
    plane.take_events()
    plane.close()
    events = plane.take_events()
    assert events == [(member, Closing()) for member in [*members, waiting]]
    assert list(dataplane.jobs) == [2]
    plane.disconnect(members[0])
    assert plane.take_events() == []
