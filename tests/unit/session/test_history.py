"""What a session remembers of its runs."""

from __future__ import annotations

from pyjail import Result, Usage, Verdict
from pyjail._session import history as session_history
from pyjail._session.history import EACH, MOST, MOST_RESULTS, History
from tests.examples import given, st


def result(size: int, cpu: float, peak: int | None) -> Result:
    usage = Usage(cpu_time=cpu, memory_peak=peak)
    return Result(args=("x",), returncode=0, verdict=Verdict.OK, stdout=b"x" * size, stderr=None, usage=usage)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.none() | st.integers(1, 99)), max_size=40))
def test_the_last_results_are_kept_within_a_bound_and_the_sums_are_of_all(runs):
    history = History()
    with _smaller():
        for i, (size, cpu, peak) in enumerate(runs):
            history.add(result(size, cpu, peak))
            kept = history.results
            assert [len(r.stdout) for r in kept] == [s for s, _, _ in runs[: i + 1]][-len(kept) :]
            assert len(kept) == 1 or sum(len(r.stdout) + 1 for r in kept) <= 100
            assert history.forgotten + len(kept) == i + 1
        if history.forgotten:
            more = len(history.results) + 1
            assert sum(s + 1 for s, _, _ in runs[-more:]) > 100
    assert history.cpu_time == sum(c for _, c, _ in runs)
    assert history.memory_peak == max((p for _, _, p in runs if p), default=None)


def test_a_list_that_the_caller_has_emptied_is_filled_again():
    history = History()
    with _smaller():
        for _ in range(300):
            history.add(result(30, 1, None))
            history.results.clear()
    assert history.forgotten == 0


def test_no_more_than_a_thousand_are_kept_however_small():
    history = History()
    for i in range(3 * MOST_RESULTS):
        history.add(result(0, 1, 3 * MOST_RESULTS - i))
        assert min(i + 1, MOST_RESULTS * 9 // 10) <= len(history.results) <= MOST_RESULTS
    assert history.results[-1].usage.memory_peak == 1
    assert history.forgotten + len(history.results) == history.cpu_time == history.memory_peak == 3 * MOST_RESULTS
    del history.results[:]  # the caller's right
    for _ in range(MOST_RESULTS // 2):
        history.add(result(0, 1, None))
    assert len(history.results) == MOST_RESULTS // 2


class _smaller:
    def __enter__(self) -> None:
        session_history.MOST, session_history.EACH = 100, 1

    def __exit__(self, *_: object) -> None:
        session_history.MOST, session_history.EACH = MOST, EACH
