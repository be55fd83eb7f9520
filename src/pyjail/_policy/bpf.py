"""Decisions by system call and arguments -> the smallest program of classic BPF we know.

Every run pays for each instruction when the kernel translates the filter. So the program is a graph, not a tree: what
decides alike is there once, an action is one return for all who jump to it, and a word is loaded once for as many
tests as follow each other. Numbers are told apart by `JGE` between ranges of the same outcome, and by `JEQ` for one
number that interrupts such a range, where that takes fewer instructions. Nothing but comparisons stands between the
start and "allow" for calls whose arguments do not matter: these the kernel finds by itself, and does not run the
filter for them any more (since Linux 5.11).

The keeper is under the filter, too, for to install it costs more than to start a program, and what is forked has it. A
call that is refused is let through when its last argument is the keeper's pass: 64 random bits that it puts into the
program in the place of `PASS`, and that no jailed program is ever told (docs/adr/0011).
"""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Iterable

from pyjail._base.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
ALLOW, NOTIFY, ERRNO = 0x7FFF0000, 0x7FC00000, 0x00050000
LOW32 = 0xFFFFFFFF
MOST_CLEVER, MOST_DECISIONS = 48, 512  # rules of one call, and what they may come to, before their order is kept
MOST = 4096  # instructions that the kernel takes
KNOWN = 480  # about how many calls there are
WORTH = 80  # comparisons at the filter's installation that weigh as much as an instruction more

# struct seccomp_data: nr, arch, instruction_pointer, args[6]; low halves first, little-endian
OFF_NR, OFF_ARCH, OFF_ARGS = 0, 4, 16
LD, AND, JEQ, JGE, JSET, JA, RET = 0x20, 0x54, 0x15, 0x35, 0x45, 0x05, 0x06
LDX, STX, LDM, TAX, OR, XOR, RETA = 0x01, 0x03, 0x60, 0x07, 0x4C, 0xA4, 0x16
REFUSE = -1  # a node's op: a return of anything but "allow", unless the call has the pass

PASS = (0x73736150, 0x73736150)  # the keeper replaces both: the one use of XOR
OFF_PASS = OFF_ARGS + 8 * 5

Insn = tuple[int, int, int, int]  # code, jt, jf, k
Case = tuple[tuple[tuple[int, int, int], ...], int]  # tests, action
Half = tuple[int, int, int]  # offset, mask, value: the accumulator has 32 bits
Rules = tuple[tuple[tuple[Half, ...], int], ...]


class Node(NamedTuple):
    """One step of a decision: a return when ``op`` is RET or REFUSE, else a comparison of ``k`` with a masked word."""

    op: int
    k: int
    word: tuple[int, int] = (0, 0)  # offset, mask
    yes: int = -1  # other nodes, by their place in `Graph.nodes`
    no: int = -1

    @property
    def last(self) -> bool:
        return self.op in (RET, REFUSE)


class _TooManyError(Exception):
    """Rules that hardly exclude each other: telling all their combinations apart would take too long."""


class Graph:
    """Nodes, each of them there once; the ones that a node leads to come before it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.known: dict[Node, int] = {}

    def add(self, node: Node) -> int:
        """Where it is, or an older one like it."""
        if not node.last and node.yes == node.no:
            return node.yes
        at = self.known.setdefault(node, len(self.nodes))
        if at == len(self.nodes):
            self.nodes.append(node)
        return at

    def result(self, action: int) -> int:
        return self.add(Node(RET if action == ALLOW else REFUSE, action))

    def test(self, half: Half, yes: int, no: int) -> int:
        """Bits that are all to be 0, or a single one, are looked at without changing the accumulator."""
        offset, mask, value = half
        if mask == LOW32:
            return self.add(Node(JEQ, value, (offset, LOW32), yes, no))
        if value == 0:
            return self.add(Node(JSET, mask, (offset, LOW32), no, yes))
        if value == mask and not mask & (mask - 1):
            return self.add(Node(JSET, mask, (offset, LOW32), yes, no))
        return self.add(Node(JEQ, value, (offset, mask), yes, no))

    # ---- arguments ----

    def case(self, rules: Rules) -> int:
        """The decision of a list of rules, the first one that fits; the last one always does."""
        plain, clever = Graph(), Graph()
        plain.in_order(rules)
        if len(rules) <= MOST_CLEVER:
            with contextlib.suppress(_TooManyError):
                clever.by_exclusion(rules, {})
                if len(clever.nodes) <= len(plain.nodes):
                    return self.by_exclusion(rules, {})
        return self.in_order(rules)

    def in_order(self, rules: Rules) -> int:
        """Rule by rule: when one test fails, the next rule's turn comes."""
        after = -1
        for tests, action in reversed(rules):
            at = self.result(action)
            for half in reversed(tests):
                at = self.test(half, at, after)
            after = at
        return after

    def by_exclusion(self, rules: Rules, done: dict[Rules, int]) -> int:
        """Test by test: what the answer says of the other rules is used."""
        rules = _certain(rules)
        if not rules[0][0]:
            return self.result(rules[0][1])
        if rules not in done:
            if len(done) >= MOST_DECISIONS:
                raise _TooManyError
            done[rules] = -1
            half = rules[0][0][0]
            yes = self.by_exclusion(_given(rules, half), done)
            done[rules] = self.test(half, yes, self.by_exclusion(_given_not(rules, half), done))
        return done[rules]

    # ---- numbers ----

    def numbers(self, ranges: list[tuple[int, int]]) -> int:
        """The decision by number: ranges as (first, node), each up to the next one's first."""
        return self._between(_peeled(ranges))

    def _between(self, ranges: list[_Range]) -> int:
        if len(ranges) == 1:
            ranges = _split(ranges[0])
        if len(ranges) == 1:
            at = ranges[0].node
            for number, node in reversed(ranges[0].single):
                at = self.add(Node(JEQ, number, (OFF_NR, LOW32), node, at))
            return at
        sums = list(itertools.accumulate(r.weight for r in ranges))
        half = min(range(1, len(ranges)), key=lambda i: abs(sums[-1] - 2 * sums[i - 1]))
        above, below = self._between(ranges[half:]), self._between(ranges[:half])
        return self.add(Node(JGE, ranges[half].first, (OFF_NR, LOW32), above, below))

    # ---- layout ----

    def program(self, root: int) -> list[Insn]:
        """The nodes as instructions. Jumps go forward only, so it is written from its end."""
        cold, warm = self._entries(root)
        code = _passed() if any(node.op == REFUSE for node in self.nodes) else []  # the last instruction first
        passed = len(code)
        at: dict[tuple[int, bool], int] = {}  # (node, with its word loaded already) -> place in `code`

        def place(node: int, loaded: tuple[int, int], other: int = 0) -> int:
            """Where to jump to; brought nearer when it is too far for 8 bits. ``other``: instructions to come yet."""
            key = (node, self.nodes[node].last or self.nodes[node].word == loaded)
            if len(code) + other - at[key] > 255:
                if self.nodes[node].last:
                    end(node)
                else:
                    code.append((JA, 0, 0, len(code) - at[key] - 1))
                at[key] = len(code) - 1
            return at[key]

        def end(node: int) -> None:
            """A return, or the way to the one place that looks for the pass first."""
            if self.nodes[node].op == RET:
                code.append((RET, 0, 0, self.nodes[node].k))
            else:
                code.append((JA, 0, 0, len(code) - passed))
                code.append((LDX, 0, 0, self.nodes[node].k))
            at[node, True] = len(code) - 1

        for i, node in enumerate(self.nodes[: root + 1]):
            if i not in cold and i not in warm:
                continue
            if node.last:
                end(i)
                continue
            place(node.yes, node.word, 2)  # of `no`
            no = place(node.no, node.word)
            yes = place(node.yes, node.word)
            at[i, True] = len(code)
            code.append((node.op, len(code) - yes - 1, len(code) - no - 1, node.k))
            if i in cold:
                offset, mask = node.word
                if mask != LOW32:
                    code.append((AND, 0, 0, mask))
                at[i, False] = len(code)
                code.append((LD, 0, 0, offset))
        return code[::-1]

    def _entries(self, root: int) -> tuple[set[int], set[int]]:
        """The nodes that have to load their word, and those that some other node with the same word leads to."""
        cold, warm = {root}, set[int]()
        for i in range(root, -1, -1):
            node = self.nodes[i]
            if not node.last and (i in cold or i in warm):
                for child in (node.yes, node.no):
                    same = self.nodes[child].last or self.nodes[child].word == node.word
                    (warm if same else cold).add(child)
        return cold, warm


def _passed() -> list[Insn]:
    """Allow what has the pass, else return X; the last instruction first. One comparison for all 64 bits: no time that
    a call takes tells how much of a guess was right."""
    code = [
        (STX, 0, 0, 0),
        (LD, 0, 0, OFF_PASS),
        (XOR, 0, 0, PASS[0]),
        (TAX, 0, 0, 0),
        (LD, 0, 0, OFF_PASS + 4),
        (XOR, 0, 0, PASS[1]),
        (OR, 0, 0, 0),
        (JEQ, 0, 1, 0),
        (RET, 0, 0, ALLOW),
        (LDM, 0, 0, 0),
        (RETA, 0, 0, 0),
    ]
    return code[::-1]


class _Range(NamedTuple):
    """Numbers from ``first`` to before ``end`` that have one outcome, but for ``single`` ones."""

    first: int
    end: int
    node: int
    single: tuple[tuple[int, int], ...] = ()

    @property
    def weight(self) -> int:
        """The kernel follows the filter for each call once, when it looks for those that are always allowed."""
        return 1 + self.calls

    @property
    def calls(self) -> int:
        return min(self.end, KNOWN) - min(self.first, KNOWN)


def _split(r: _Range) -> list[_Range]:
    """Two ranges for one, where that saves more comparisons than one instruction is worth."""
    half = len(r.single) // 2
    if r.calls * (half - 1) <= WORTH:
        return [r]
    middle = r.single[half][0]
    return [_Range(r.first, middle, r.node, r.single[:half]), _Range(middle, r.end, r.node, r.single[half:])]


def _peeled(ranges: list[tuple[int, int]]) -> list[_Range]:
    """The choice of ranges and single numbers that takes the fewest comparisons, then the fewest single ones."""
    ends = [first for first, _ in ranges[1:]] + [1 << 32]
    # node of the range that we are in -> (comparisons, single ones, and which those are: the last one, those before)
    best: dict[int, tuple[int, int, Any]] = {ranges[0][1]: (0, 0, None)}
    for (first, node), end in zip(ranges, ends, strict=True):
        options = [(cost + (within != node), singles, chosen, node) for within, (cost, singles, chosen) in best.items()]
        if end - first == 1:
            options += [
                (cost + 1, singles + 1, (first, chosen), within) for within, (cost, singles, chosen) in best.items()
            ]
        least = min(cost for cost, *_ in options)  # one more comparison leads from there to any other range
        best = {}
        for cost, singles, chosen, within in options:
            if cost == least and (within not in best or singles < best[within][1]):
                best[within] = cost, singles, chosen
    chosen, single = min(best.values(), key=lambda o: o[1])[2], set()
    while chosen is not None:
        number, chosen = chosen
        single.add(number)
    found: list[_Range] = []
    between: list[tuple[int, int]] = []
    for (first, node), end in zip(ranges, ends, strict=True):
        if first in single:
            between.append((first, node))
        elif found and found[-1].node == node:
            found[-1] = _Range(found[-1].first, end, node, (*found[-1].single, *between))
            between = []
        else:
            if found:
                found[-1] = found[-1]._replace(end=first, single=(*found[-1].single, *between))
                between = []
            found.append(_Range(0 if not found else first, end, node))
    last = found[-1]
    found[-1] = last._replace(end=1 << 32, single=(*last.single, *between))
    return found


def _certain(rules: Rules) -> Rules:
    """Up to the first rule that always fits, without those before it that say the same."""
    end = next(i for i, (tests, _) in enumerate(rules) if not tests)
    last = rules[end][1]
    while end and rules[end - 1][1] == last:
        end -= 1
    return (*rules[:end], ((), last))


def _given(rules: Rules, known: Half) -> Rules:
    """The rules that can still fit when a test holds, without the tests that it answers."""
    offset, mask, value = known
    left = []
    for tests, action in rules:
        same = [t for t in tests if t[0] == offset]
        if not any((t[2] ^ value) & t[1] & mask for t in same):
            left.append((tuple(t for t in tests if t[0] != offset or t[1] & ~mask), action))
    return tuple(left)


def _given_not(rules: Rules, known: Half) -> Rules:
    """As `_given`, when it does not hold."""
    offset, mask, value = known
    if not mask & (mask - 1):  # one bit: the other value does
        return _given(rules, (offset, mask, value ^ mask))
    return tuple(
        (tests, action)
        for tests, action in rules
        if not any(t[0] == offset and t[1] & mask == mask and t[2] & mask == value for t in tests)
    )


def assemble(arch: int, cases: dict[int, list[Case]], default: int, foreign: int = NOTIFY) -> bytes:
    """The program for one architecture. What ``cases`` does not name is ``default``; other architectures and x32
    numbers are ``foreign``. ValueError when it has more than `MOST` instructions."""
    graph = Graph()
    decided: dict[Rules, int] = {}
    ranges: list[tuple[int, int]] = []

    def outcome(first: int, rules: Rules) -> None:
        if rules not in decided:
            decided[rules] = graph.case(rules)
        if not ranges or ranges[-1][1] != decided[rules]:
            ranges.append((first, decided[rules]))

    for nr in range(max(cases, default=-1) + 2):
        outcome(nr, _certain((*_halves(cases.get(nr, ())), ((), default))))
    outcome(X32_BIT, (((), foreign),))
    outcome(1 << 31, (((), default),))  # negative ones, which programs use to probe: no such call, as natively
    tree = graph.numbers(ranges)
    root = graph.add(Node(JEQ, arch, (OFF_ARCH, LOW32), tree, graph.add(Node(RET, foreign))))
    program = graph.program(root)
    if len(program) > MOST:
        raise ValueError(len(program))
    return b"".join(struct.pack("<HBBI", *insn) for insn in program)


def _halves(case: Iterable[Case]) -> Rules:
    """Tests of 64 bits as tests of 32, the high one first."""
    return tuple(
        (
            tuple(
                (OFF_ARGS + 8 * arg + 4 * half, mask >> 32 * half & LOW32, value >> 32 * half & LOW32)
                for arg, value, mask in tests
                for half in (1, 0)
                if mask >> 32 * half & LOW32
            ),
            action,
        )
        for tests, action in case
    )
