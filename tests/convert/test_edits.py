"""Edits of source texts: what is not touched stays byte for byte, whatever the file looks like."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from hora.convert import edits
from hora.convert.edits import Edit, SharedLineError
from hora.convert.source import Source, parse

FILE = Path("script.py")


def source_of(text: str) -> Source:
    return parse(text, path=FILE)


def first(source: Source, kind: type[ast.stmt]) -> ast.stmt:
    return next(node for node in ast.walk(source.tree) if isinstance(node, kind))


def guarded(text: str, kind: type[ast.stmt] = ast.Expr) -> str:
    source = source_of(text)
    return edits.apply(text, edits.guard(source, [first(source, kind)], "zero"))


def test_insertions_at_one_place_keep_their_order() -> None:
    assert edits.apply("ab", [Edit(1, 1, "x", FILE), Edit(1, 1, "y", FILE)]) == "axyb"


def test_overlaps_are_an_error() -> None:
    with pytest.raises(ValueError, match="overlap"):
        edits.apply("abc", [Edit(0, 2, "x", FILE), Edit(1, 3, "y", FILE)])


def test_a_guard_indents_statements_and_not_what_is_inside_strings() -> None:
    text = 'def f():\n    print("""one\n  two\n""", 1)\n'
    assert guarded(text) == 'def f():\n    if zero:\n        print("""one\n  two\n""", 1)\n'


def test_a_guard_indents_strings_that_are_only_next_to_each_other() -> None:
    text = 'print("one"\n      "two")\n'
    assert guarded(text) == 'if zero:\n    print("one"\n          "two")\n'


def test_a_guard_leaves_the_inside_of_formatted_strings() -> None:
    text = 'x = 1\nprint(f"""{x}\n  two {x}\n""")\n'
    assert guarded(text) == 'x = 1\nif zero:\n    print(f"""{x}\n  two {x}\n""")\n'


def test_a_guard_uses_the_tabs_and_line_endings_of_the_file() -> None:
    text = "def f():\r\n\tprint(1)\r\n"
    assert guarded(text) == "def f():\r\n\tif zero:\r\n\t\tprint(1)\r\n"


def test_a_guard_keeps_a_missing_last_newline() -> None:
    assert guarded("print(1)") == "if zero:\n    print(1)"


def test_a_guard_takes_decorators_along() -> None:
    text = "@wraps\n@more(1)\ndef f():\n    pass\n"
    assert guarded(text, ast.FunctionDef) == "if zero:\n    @wraps\n    @more(1)\n    def f():\n        pass\n"


def test_lines_go_above_decorators_and_comments() -> None:
    text = "x = 1\n# says what\n# and why\n@wraps\ndef f():\n    pass\n"
    source = source_of(text)
    edit = edits.insert_before(source, first(source, ast.FunctionDef), ["new"])
    assert edits.apply(text, [edit]) == "x = 1\nnew\n# says what\n# and why\n@wraps\ndef f():\n    pass\n"


def test_lines_go_after_the_comments_that_end_a_block() -> None:
    text = "for x in y:\n    f(x)  # each\n    # and that is all\n\ng()\n"
    source = source_of(text)
    edit = edits.insert_after(source, first(source, ast.For), ["new"])
    assert edits.apply(text, [edit]) == "for x in y:\n    f(x)  # each\n    # and that is all\nnew\n\ng()\n"


def test_lines_go_after_a_last_line_without_a_newline() -> None:
    source = source_of("x = 1")
    edit = edits.insert_after(source, source.tree.body[0], ["y = 2"])
    assert edits.apply("x = 1", [edit]) == "x = 1\ny = 2"


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("a(); b()  # both\n", "a()\nb()  # both\n"),
        ("if x: a(); b();\nelse: c()\n", "if x:\n    a()\n    b()\nelse: c()\n"),
        ("for x in y: a(x)\n", "for x in y:\n    a(x)\n"),
        ("def f():\n\tif x: a()\n", "def f():\n\tif x:\n\t\ta()\n"),
        ("try: a()\nexcept E: b()\n", "try:\n    a()\nexcept E: b()\n"),
    ],
)
def test_statements_on_one_line_are_set_apart(text: str, apart: str) -> None:
    source = source_of(text)
    with pytest.raises(SharedLineError) as shared:
        edits.guard(source, [first(source, ast.Expr)], "zero")
    result = edits.apply(text, shared.value.edits)
    assert result == apart
    ast.parse(result)


def test_a_statement_joins_the_guard_before_it() -> None:
    text = "if zero:\n  a()\nb()\n"
    source = source_of(text)
    guard = source.tree.body[0]
    assert isinstance(guard, ast.If)
    assert edits.apply(text, edits.join_guard(source, guard, [source.tree.body[1]])) == "if zero:\n  a()\n  b()\n"


def test_columns_are_counted_in_bytes_by_python_and_in_characters_here() -> None:
    text = 'größe = "straße"; f(größe)\n'
    source = source_of(text)
    call = first(source, ast.Expr)
    assert isinstance(call, ast.Expr)
    assert source.segment(call.value) == "f(größe)"


def test_each_line_knows_where_it_came_from() -> None:
    text = "a\nb\nc\n"
    changes = [Edit(2, 2, "new\n", FILE), Edit(2, 2, "    ", FILE)]
    assert edits.apply(text, changes) == "a\nnew\n    b\nc\n"
    assert edits.origins(text, changes) == [(0, True), (2, False), (2, True), (4, True)]
