"""`check_arguments`: arguments by name are compared with the declared parameters."""

import pytest
from psycopg import errors

from tests.support.sessions import Session, scalar

CHECK = "select horsies.check_arguments('add', %s::text::json, %s, %s)"
PREFIX = "the parameters of the task are"
AB = ["a", "b", "größe"]


@pytest.mark.parametrize("args", ['{"a": 1}', '{"b": null, "a": null}', r'{"\u0061": "\u0000", "größe": 1}'])
def test_required_arguments_and_known_names_are_accepted(db: Session, args: str) -> None:
    assert scalar(db, CHECK, args, AB, ["a"]) == ""


@pytest.mark.parametrize(
    ("args", "names", "required", "refusal"),
    [
        (
            "{}",
            AB,
            ["a"],
            ("the task 'add' is missing the argument 'a'", f"{PREFIX} a, b (optional), größe (optional)"),
        ),
        ('{"b": 1}', AB, AB, ("the task 'add' is missing the argument 'a'", f"{PREFIX} a, b, größe")),
        ('{"a": 1, "x\'y": 1}', AB, AB[:1], ("the task 'add' has no parameter 'x''y'", f"{PREFIX} a, b (optional)")),
        ('{"A": 1}', [], [], ("the task 'add' has no parameter 'A'", "the task has no parameters")),
        (r'{"a\u0000": 1}', AB, [], ("the task 'add' has no parameter 'a␀'", f"{PREFIX} a (optional)")),
    ],
)
def test_other_arguments_are_refused(
    db: Session, args: str, names: list[str], required: list[str], refusal: tuple[str, str]
) -> None:
    message, hint = refusal
    with pytest.raises(errors.InvalidParameterValue) as refused:
        scalar(db, CHECK, args, names, required)
    assert refused.value.diag.message_primary == message
    assert (refused.value.diag.message_hint or "").startswith(hint)
