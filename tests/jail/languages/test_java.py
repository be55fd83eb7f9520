"""Which class of a Java program is started: its compiler says how the file is called, its class files who has main."""

from __future__ import annotations

import pytest

from tests.jail.languages.judging import compilers, judge, needed, verdicts

MAIN = 'public static void main(String[] args) { System.out.println("right"); }'
PROGRAMS = {
    "a package": f"package a.b; public class Foo {{ {MAIN} }}",
    "a name not in ASCII": f"public class Éa {{ {MAIN} }}",
    "a comment that names another class": f"// public class Foo\nclass Bar {{ {MAIN} }}",
    "a text that names another class": f'class Bar {{ String s = "public class Foo {{}}"; {MAIN} }}',
    "a name in escapes": f"\\u0070ublic class Foo {{ {MAIN} }}",
    "modifiers that we do not know": f"@Deprecated strictfp public abstract class Foo {{ {MAIN} }}",
    "no public class": f"class A {{}}\nclass Z {{ {MAIN} }}",
    "an interface": f"interface I {{ {MAIN.removeprefix('public ')} }}",
    "an enum": f"enum E {{ X; {MAIN} }}",
    "a record": f"record R(int a) {{ {MAIN} }}",
    "a dollar in its name": f"public class A$B {{ {MAIN} }}",
    "the first of two": f"class Second {{ {MAIN} }}\nclass Other {{ public static void main(String[] a) {{}} }}",
    "the public one of two": f"class First {{ public static void main(String[] a) {{}} }}\npublic class Second {{ {MAIN} }}",
    "one inside another": f"public class Outer {{ {MAIN} static class Main {{ public static void main(String[] a) {{}} }} }}",
    "only inside another": f"public class Outer {{ static class In {{ {MAIN} }} }}",
    "main of its parent": f"public class Child extends Parent {{}} class Parent {{ {MAIN} }}",
}


@compilers
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if i % 3 == 0 else pytest.mark.slow) for i, n in enumerate(PROGRAMS)]
)
def test_the_class_with_main_is_started(name):
    needed("java")
    judged = judge(PROGRAMS[name], [("", "right")], language="java")
    assert verdicts(judged) == ["ok"], (judged.compile, judged.results[0])


@compilers
def test_a_program_without_main_is_an_error_of_the_run():
    needed("java")
    judged = judge("public class A {}", [("", "")], language="java")
    assert verdicts(judged) == ["runtime_error"]
    assert b"main" in judged.results[0].result.stderr.lower()
