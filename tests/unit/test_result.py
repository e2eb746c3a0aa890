"""`Ok` and `Err`."""

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horsies.result import Err, Ok, Result, is_err, is_ok

VALUES = st.one_of(st.none(), st.integers(), st.text(), st.tuples(st.integers()))


def halve(number: int) -> Result[int, str]:
    return Ok(number // 2) if number % 2 == 0 else Err(f"{number} is odd")


@given(VALUES)
def test_a_success_has_a_value_and_no_error(value: object) -> None:
    result = Ok(value)
    assert (result.is_ok(), result.is_err(), is_ok(result), is_err(result)) == (True, False, True, False)
    assert result.value is result.ok_value is result.unwrap() is value
    with pytest.raises(ValueError, match="it has no error"):
        result.unwrap_err()
    with pytest.raises(ValueError, match="it has no error"):
        _ = result.err_value


@given(VALUES)
def test_a_failure_has_an_error_and_no_value(error: object) -> None:
    result = Err(error)
    assert (result.is_ok(), result.is_err(), is_ok(result), is_err(result)) == (False, True, False, True)
    assert result.error is result.err_value is result.unwrap_err() is error
    with pytest.raises(ValueError, match="it has no value"):
        result.unwrap()
    with pytest.raises(ValueError, match="it has no value"):
        _ = result.ok_value


def test_unwrapping_a_failure_keeps_the_exception_as_the_cause() -> None:
    reason = KeyError("k")
    with pytest.raises(ValueError, match="KeyError") as caught:
        Err(reason).unwrap()
    assert caught.value.__cause__ is reason


def test_they_match_by_position() -> None:
    seen: list[object] = []
    for result in (halve(4), halve(3)):
        match result:
            case Ok(value):
                seen.append(value)
            case Err(error):
                seen.append(error)
    assert seen == [2, "3 is odd"]


def test_combinators_act_on_their_own_side_only() -> None:
    assert halve(4).map(str) == Ok("2")
    assert halve(3).map(str) == Err("3 is odd")
    assert halve(4).map_err(len) == Ok(2)
    assert halve(3).map_err(len) == Err(8)
    assert halve(8).and_then(halve) == Ok(2)
    assert halve(6).and_then(halve) == Err("3 is odd")
    assert halve(3).and_then(halve) == Err("3 is odd")
    assert (halve(4).unwrap_or(0), halve(3).unwrap_or(0)) == (2, 0)
    assert (halve(4).unwrap_or_else(len), halve(3).unwrap_or_else(len)) == (2, 8)


def test_each_side_is_there_or_none() -> None:
    assert (halve(4).ok(), halve(4).err()) == (2, None)
    assert (halve(3).ok(), halve(3).err()) == (None, "3 is odd")


def test_expect_raises_the_message_and_the_error() -> None:
    assert halve(4).expect("the number must be even") == 2
    with pytest.raises(ValueError, match=r"^the number must be even: '3 is odd'$"):
        halve(3).expect("the number must be even")


def test_expect_keeps_an_exception_as_the_cause() -> None:
    reason = KeyError("k")
    with pytest.raises(ValueError, match="^no key: KeyError") as caught:
        Err(reason).expect("no key")
    assert caught.value.__cause__ is reason


def test_or_else_recovers_from_a_failure_only() -> None:
    assert halve(4).or_else(lambda reason: Ok(len(reason))) == Ok(2)
    assert halve(3).or_else(lambda reason: Ok(len(reason))) == Ok(8)
    assert halve(3).or_else(lambda reason: Err(reason.upper())) == Err("3 IS ODD")


def test_map_or_takes_the_default_of_a_failure() -> None:
    assert (halve(4).map_or("none", str), halve(3).map_or("none", str)) == ("2", "none")


def test_inspecting_calls_back_on_its_own_side_only_and_changes_nothing() -> None:
    values: list[int] = []
    errors: list[str] = []
    for result in (halve(4), halve(3)):
        assert result.inspect(values.append).inspect_err(errors.append) is result
    assert (values, errors) == ([2], ["3 is odd"])


@given(VALUES)
def test_they_are_values(content: object) -> None:
    for result, same in ((Ok(content), Ok(content)), (Err(content), Err(content))):
        assert result == same
        assert hash(result) == hash(same)
        assert pickle.loads(pickle.dumps(result)) == copy.deepcopy(result) == result  # noqa: S301
    assert Ok(content) != Err(content)


def test_they_are_frozen_and_show_their_content() -> None:
    with pytest.raises(FrozenInstanceError):
        Ok(1).value = 2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    assert repr(Ok(1)) == "Ok(value=1)"
    assert repr(Err("x")) == "Err(error='x')"
