"""`Result`: the return type of calls that can fail for reasons outside the program."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Never, TypeIs

# Ok and Err define __init__ themselves. For a generated __init__, type checkers infer a __replace__ method that takes
# the content as a parameter, which would make the class invariant.


class UnwrapError(ValueError):
    """Raised by `Err.unwrap`. The message says why the call failed.

    Attributes:
        error: The error of the call, such as a `TaskSendError`.
    """

    def __init__(self, error: object) -> None:
        code, message = getattr(error, "code", None), getattr(error, "message", None)
        reason = repr(error) if code is None else f"{code}: {message}"
        super().__init__(f"the call failed, so it has no value: {reason}")
        self.error = error

    def __reduce__(self) -> tuple[type["UnwrapError"], tuple[object]]:
        """Pickle the exception by its `error`."""
        return UnwrapError, (self.error,)


@dataclass(frozen=True, slots=True, init=False)
class Ok[T]:
    """Success, with its value: ``case Ok(value)``."""

    value: T

    def __init__(self, value: T) -> None:
        object.__setattr__(self, "value", value)

    def is_ok(self) -> Literal[True]:
        """Return True: this is a success."""
        return True

    def is_err(self) -> Literal[False]:
        """Return False: this is not a failure."""
        return False

    def ok(self) -> T:
        """Return the value. On an `Err` this method returns None."""
        return self.value

    def err(self) -> None:
        """Return None, because there is no error. On an `Err` this method returns the error."""
        return

    @property
    def ok_value(self) -> T:
        """The value."""
        return self.value

    @property
    def err_value(self) -> Never:
        """Raise an exception, because there is no error.

        Raises:
            ValueError: always.
        """
        self.unwrap_err()

    def unwrap(self) -> T:
        """Return the value. On an `Err` this method raises `UnwrapError`."""
        return self.value

    def expect(self, message: str) -> T:  # noqa: ARG002 - the same call fits either side
        """Return the value. On an `Err` this method raises `ValueError` with the message."""
        return self.value

    def unwrap_err(self) -> Never:
        """Raise an exception, because there is no error.

        Raises:
            ValueError: always.
        """
        msg = f"the call succeeded, so it has no error: {self!r}"
        raise ValueError(msg)

    def unwrap_or(self, default: object) -> T:  # noqa: ARG002 - the same call fits either side
        """Return the value. On an `Err` this method returns the default."""
        return self.value

    def unwrap_or_else(self, make: Callable[[Never], object]) -> T:  # noqa: ARG002
        """Return the value. On an `Err` this method calls ``make`` with the error."""
        return self.value

    def map[U](self, change: Callable[[T], U]) -> "Ok[U]":
        """Return an `Ok` with the result of calling ``change`` with the value."""
        return Ok(change(self.value))

    def map_err(self, change: Callable[[Never], object]) -> "Ok[T]":  # noqa: ARG002
        """Return this success unchanged. On an `Err` this method changes the error."""
        return self

    def and_then[R](self, step: Callable[[T], R]) -> R:
        """Call ``step``, which itself returns a `Result`, with the value, and return its result."""
        return step(self.value)

    def or_else(self, step: Callable[[Never], object]) -> "Ok[T]":  # noqa: ARG002
        """Return this success unchanged. On an `Err` this method calls ``step`` to recover."""
        return self

    def map_or[U](self, default: object, change: Callable[[T], U]) -> U:  # noqa: ARG002
        """Return the result of calling ``change`` with the value. On an `Err` this method returns the default."""
        return change(self.value)

    def inspect(self, look: Callable[[T], object]) -> "Ok[T]":
        """Call ``look`` with the value, for example to log it, and return this success unchanged."""
        look(self.value)
        return self

    def inspect_err(self, look: Callable[[Never], object]) -> "Ok[T]":  # noqa: ARG002
        """Return this success unchanged. On an `Err` this method calls ``look`` with the error."""
        return self


@dataclass(frozen=True, slots=True, init=False)
class Err[E]:
    """Failure, with its error: ``case Err(error)``."""

    error: E

    def __init__(self, error: E) -> None:
        object.__setattr__(self, "error", error)

    def is_ok(self) -> Literal[False]:
        """Return False: this is not a success."""
        return False

    def is_err(self) -> Literal[True]:
        """Return True: this is a failure."""
        return True

    def ok(self) -> None:
        """Return None, because there is no value. On an `Ok` this method returns the value."""
        return

    def err(self) -> E:
        """Return the error. On an `Ok` this method returns None."""
        return self.error

    @property
    def ok_value(self) -> Never:
        """Raise an exception, because there is no value.

        Raises:
            UnwrapError: always, as `unwrap` does.
        """
        self.unwrap()

    @property
    def err_value(self) -> E:
        """The error."""
        return self.error

    def unwrap(self) -> Never:
        """Raise the error as an exception, for programs that prefer exceptions to error values.

        Raises:
            UnwrapError: always. It is a `ValueError`. Its message says why the call failed, its ``error`` is the error,
                and its cause is the exception that led to the error, if there was one.
        """
        cause = self.error if isinstance(self.error, BaseException) else getattr(self.error, "exception", None)
        raise UnwrapError(self.error) from cause

    def expect(self, message: str) -> Never:
        """Raise an exception, because there is no value.

        Raises:
            ValueError: always, with the message and the error. An error that is itself an exception becomes its cause.
        """
        msg = f"{message}: {self.error!r}"
        raise ValueError(msg) from (self.error if isinstance(self.error, BaseException) else None)

    def unwrap_err(self) -> E:
        """Return the error. On an `Ok` this method raises `ValueError`."""
        return self.error

    def unwrap_or[D](self, default: D) -> D:
        """Return the default. On an `Ok` this method returns the value."""
        return default

    def unwrap_or_else[D](self, make: Callable[[E], D]) -> D:
        """Return the result of calling ``make`` with the error. On an `Ok` this method returns the value."""
        return make(self.error)

    def map(self, change: Callable[[Never], object]) -> "Err[E]":  # noqa: ARG002
        """Return this failure unchanged. On an `Ok` this method changes the value."""
        return self

    def map_err[F](self, change: Callable[[E], F]) -> "Err[F]":
        """Return an `Err` with the result of calling ``change`` with the error."""
        return Err(change(self.error))

    def and_then(self, step: Callable[[Never], object]) -> "Err[E]":  # noqa: ARG002
        """Return this failure unchanged. On an `Ok` this method calls ``step`` with the value."""
        return self

    def or_else[R](self, step: Callable[[E], R]) -> R:
        """Recover from the error: call ``step``, which itself returns a `Result`, with it, and return its result."""
        return step(self.error)

    def map_or[D](self, default: D, change: Callable[[Never], object]) -> D:  # noqa: ARG002
        """Return the default. On an `Ok` this method calls ``change`` with the value."""
        return default

    def inspect(self, look: Callable[[Never], object]) -> "Err[E]":  # noqa: ARG002
        """Return this failure unchanged. On an `Ok` this method calls ``look`` with the value."""
        return self

    def inspect_err(self, look: Callable[[E], object]) -> "Err[E]":
        """Call ``look`` with the error, for example to log it, and return this failure unchanged."""
        look(self.error)
        return self


type Result[T, E] = Ok[T] | Err[E]


def is_ok[T, E](result: Result[T, E]) -> TypeIs[Ok[T]]:
    """Whether a result is an `Ok`. A type checker narrows the result accordingly."""
    return isinstance(result, Ok)


def is_err[T, E](result: Result[T, E]) -> TypeIs[Err[E]]:
    """Whether a result is an `Err`. A type checker narrows the result accordingly."""
    return isinstance(result, Err)
