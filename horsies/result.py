"""`Result`: what a call returns that can fail without that being a mistake in the program."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Never, TypeIs

# Both write their own __init__: with a generated one a type checker infers a __replace__, which takes the content
# and so makes the class invariant.


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

    def ok(self) -> T:
        """Return the value; an `Err` returns None here."""
        return self.value

    def err(self) -> None:
        """Return None: there is no error; an `Err` returns its error here."""
        return

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
        """Return the value."""
        return self.value

    def expect(self, message: str) -> T:  # noqa: ARG002 - the same call fits either side
        """Return the value; an `Err` raises `ValueError` with the message here."""
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

    def or_else(self, step: Callable[[Never], object]) -> "Ok[T]":  # noqa: ARG002
        """Return this success as it is."""
        return self

    def map_or[U](self, default: object, change: Callable[[T], U]) -> U:  # noqa: ARG002
        """Return what ``change`` makes of the value; an `Err` returns the default."""
        return change(self.value)

    def inspect(self, look: Callable[[T], object]) -> "Ok[T]":
        """Call ``look`` with the value, for a log line for example, and return this success as it is."""
        look(self.value)
        return self

    def inspect_err(self, look: Callable[[Never], object]) -> "Ok[T]":  # noqa: ARG002
        """Return this success as it is; an `Err` calls ``look`` with its error first."""
        return self


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

    def ok(self) -> None:
        """Return None: there is no value; an `Ok` returns its value here."""
        return

    def err(self) -> E:
        """Return the error; an `Ok` returns None here."""
        return self.error

    @property
    def ok_value(self) -> Never:
        """There is no value here.

        Raises:
            ValueError: always; it shows the error.
        """
        self.unwrap()

    @property
    def err_value(self) -> E:
        """The error."""
        return self.error

    def unwrap(self) -> Never:
        """Refuse: there is no value here.

        Raises:
            ValueError: always; it shows the error, and has it as its cause if that is an exception.
        """
        msg = f"this is a failure, it has no value: {self!r}"
        raise ValueError(msg) from (self.error if isinstance(self.error, BaseException) else None)

    def expect(self, message: str) -> Never:
        """Refuse: there is no value here.

        Raises:
            ValueError: always, with the message and the error; an error that is an exception is its cause.
        """
        msg = f"{message}: {self.error!r}"
        raise ValueError(msg) from (self.error if isinstance(self.error, BaseException) else None)

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

    def or_else[R](self, step: Callable[[E], R]) -> R:
        """Recover from the error: return what ``step``, itself a call that returns a `Result`, makes of it."""
        return step(self.error)

    def map_or[D](self, default: D, change: Callable[[Never], object]) -> D:  # noqa: ARG002
        """Return the default; an `Ok` returns what ``change`` makes of its value."""
        return default

    def inspect(self, look: Callable[[Never], object]) -> "Err[E]":  # noqa: ARG002
        """Return this failure as it is; an `Ok` calls ``look`` with its value first."""
        return self

    def inspect_err(self, look: Callable[[E], object]) -> "Err[E]":
        """Call ``look`` with the error, for a log line for example, and return this failure as it is."""
        look(self.error)
        return self


type Result[T, E] = Ok[T] | Err[E]


def is_ok[T, E](result: Result[T, E]) -> TypeIs[Ok[T]]:
    """Tell whether it is a success; the type checker knows it from then on."""
    return isinstance(result, Ok)


def is_err[T, E](result: Result[T, E]) -> TypeIs[Err[E]]:
    """Tell whether it is a failure; the type checker knows it from then on."""
    return isinstance(result, Err)
