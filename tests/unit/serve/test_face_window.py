"""The sliding window of each client."""

from __future__ import annotations

from pyjail.serve.faces.window import Window


def test_it_slides_exactly_and_refusals_do_not_count():
    now = [100.0]
    window = Window(2, 60, lambda: now[0])
    assert window.enter("a") == 0
    now[0] = 130
    assert window.enter("a") == 0
    assert window.enter("a") == 30  # the first one leaves the window then
    assert window.enter("b") == 0  # another client's is its own
    now[0] = 160.5
    assert window.enter("a") == 0
    assert window.enter("a") == 29.5


def test_who_has_left_is_forgotten():
    now = [0.0]
    window = Window(2, 60, lambda: now[0])
    for i in range(1000):
        window.enter(str(i))
    assert len(window) == 1000
    now[0] = 61
    window.enter("late")
    assert len(window) == 1
