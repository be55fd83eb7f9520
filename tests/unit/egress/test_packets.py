"""What came of a run, on its way between processes: whole, and in packets that a socket takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyjail import Contact, Contacts
from pyjail._egress.packets import MOST, packets, rows

CONTACTS = st.builds(
    Contact,
    st.text(max_size=253), st.integers(0, 65535), st.booleans(), st.integers(0), st.integers(0), st.floats(0, 1e9),
    st.text(max_size=260), st.text(max_size=2000),
)  # fmt: skip


def back(made: list[bytes]) -> Contacts:
    parts = [rows(packet) for packet in made]
    assert [last for _, _, last in parts] == [False] * (len(parts) - 1) + [True]
    return Contacts(tuple([row for found, _, _ in parts for row in found]), parts[-1][1])


@given(st.lists(CONTACTS, max_size=20), st.integers(0))
def test_rows_arrive_as_they_are(found, omitted):
    report = Contacts(tuple(found), omitted)
    assert back([*packets(report)]) == report


def test_the_longest_rows_are_packets_that_a_socket_takes():
    row = Contact("\0" * 253, 65535, True, 1 << 62, 1 << 62, 1e300, "\0" * 260, "\0" * 2000)
    made = [*packets(Contacts((row,) * 1000, 1))]
    assert max(map(len, made)) <= MOST
    assert back(made) == Contacts((row,) * 1000, 1)


def test_nothing_is_one_small_packet():
    (made,) = packets(Contacts())
    assert len(made) < 100
    assert back([made]) == Contacts()
