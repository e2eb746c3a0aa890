"""`Result`: what a call returns that can fail without that being a mistake in the program."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Never, TypeIs

# Both write their own __init__: with a generated one a type checker infers a __replace__, which takes the content
# and so makes the class invariant.


class UnwrapError(ValueError):
    """A call failed whose `unwrap` was asked for the value. The text says why it failed.

    Attributes:
        error: The error of the call, such as a `TaskSendError`.
    """

    def __init__(self, error: object) -> None:
        """Take the error."""
        code, message = getattr(error, "code", None), getattr(error, "message", None)
        reason = repr(error) if code is None else f"{code}: {message}"
        super().__init__(f"the call failed, so it has no value: {reason}")
        self.error = error

    def __reduce__(self) -> tuple[type["UnwrapError"], tuple[object]]:
        """Pickle by the error."""
        return UnwrapError, (self.error,)


@dataclass(frozen=True, slots=True, init=False)
class Ok[T]:
    """Success, with its value: ``case Ok(value)``."""

    value: T

    def __init__(self, value: T) -> None:
        """Take the value."""
        object.__setattr__(self, "value", value)

    def is_ok(self) -> Literal[True]:
        """Whether this is a success: yes."""
        return True

    def is_err(self) -> Literal[False]:
        """Whether this is a failure: no."""
        return False

    @property
    def ok_value(self) -> T:
        """The value."""
        return self.value

    @property
    def err_value(self) -> Never:
        """There is no error here.

        Raises:
            ValueError: always.
        """
        self.unwrap_err()

    def unwrap(self) -> T:
        """Return the value; an `Err` raises `UnwrapError` here."""
        return self.value

    def unwrap_err(self) -> Never:
        """Refuse: there is no error here.

        Raises:
            ValueError: always.
        """
        msg = f"this is a success, it has no error: {self!r}"
        raise ValueError(msg)

    def unwrap_or(self, default: object) -> T:  # noqa: ARG002 - the same call fits either side
        """Return the value."""
        return self.value

    def unwrap_or_else(self, make: Callable[[Never], object]) -> T:  # noqa: ARG002
        """Return the value."""
        return self.value

    def map[U](self, change: Callable[[T], U]) -> "Ok[U]":
        """Return a success with the changed value."""
        return Ok(change(self.value))

    def map_err(self, change: Callable[[Never], object]) -> "Ok[T]":  # noqa: ARG002
        """Return this success as it is."""
        return self

    def and_then[R](self, step: Callable[[T], R]) -> R:
        """Go on with the value: return what ``step``, itself a call with a `Result`, makes of it."""
        return step(self.value)


@dataclass(frozen=True, slots=True, init=False)
class Err[E]:
    """Failure, with its error: ``case Err(error)``."""

    error: E

    def __init__(self, error: E) -> None:
        """Take the error."""
        object.__setattr__(self, "error", error)

    def is_ok(self) -> Literal[False]:
        """Whether this is a success: no."""
        return False

    def is_err(self) -> Literal[True]:
        """Whether this is a failure: yes."""
        return True

    @property
    def ok_value(self) -> Never:
        """There is no value here.

        Raises:
            UnwrapError: always, as `unwrap` does.
        """
        self.unwrap()

    @property
    def err_value(self) -> E:
        """The error."""
        return self.error

    def unwrap(self) -> Never:
        """Raise the error: this is the form of a call for a program that wants an exception.

        Raises:
            UnwrapError: always. It is a `ValueError`, says why the call failed, has the error as ``error``, and as its
                cause the exception that led to the error, if there was one.
        """
        cause = self.error if isinstance(self.error, BaseException) else getattr(self.error, "exception", None)
        raise UnwrapError(self.error) from cause

    def unwrap_err(self) -> E:
        """Return the error."""
        return self.error

    def unwrap_or[D](self, default: D) -> D:
        """Return the default."""
        return default

    def unwrap_or_else[D](self, make: Callable[[E], D]) -> D:
        """Return what ``make`` makes of the error."""
        return make(self.error)

    def map(self, change: Callable[[Never], object]) -> "Err[E]":  # noqa: ARG002
        """Return this failure as it is."""
        return self

    def map_err[F](self, change: Callable[[E], F]) -> "Err[F]":
        """Return a failure with the changed error."""
        return Err(change(self.error))

    def and_then(self, step: Callable[[Never], object]) -> "Err[E]":  # noqa: ARG002
        """Return this failure as it is."""
        return self


type Result[T, E] = Ok[T] | Err[E]


def is_ok[T, E](result: Result[T, E]) -> TypeIs[Ok[T]]:
    """Tell whether it is a success; the type checker knows it from then on."""
    return isinstance(result, Ok)


def is_err[T, E](result: Result[T, E]) -> TypeIs[Err[E]]:
    """Tell whether it is a failure; the type checker knows it from then on."""
    return isinstance(result, Err)
