"""A scripted model: it looks at a program that is wrong, repairs it, and says so. A real one takes its place."""

FILES = {
    "merged.py": '''def merged(spans):
    """Spans that touch or overlap, as one."""
    out = []
    for start, end in sorted(spans):
        if out and start < out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out
''',
    "test_merged.py": """from merged import merged

assert merged([(5, 6), (1, 3), (2, 4)]) == [(1, 4), (5, 6)]
assert merged([(1, 2), (2, 3)]) == [(1, 3)], merged([(1, 2), (2, 3)])
print("all is right")
""",
}
TASK = "test_merged.py fails. Repair merged.py."


def commands():
    """Shell commands, each answered by what it has shown."""
    shown = yield "python test_merged.py"
    assert "AssertionError: [(1, 2), (2, 3)]" in shown, shown
    shown = yield "cat merged.py"
    assert "start < out" in shown, shown
    shown = yield "sed -i 's/start < out/start <= out/' merged.py && python test_merged.py"
    assert "all is right" in shown, shown
