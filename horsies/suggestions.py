"""Suggestions for names that do not exist, for error messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def similar_name(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that is most similar to a name; None if none is as similar as ``cutoff``, from 0 to 1."""
    return next(iter(get_close_matches(name, known, n=1, cutoff=cutoff)), None)


def suggest(name: str, known: Iterable[str]) -> str | None:
    """Return the question ``did you mean 'mail'?`` with the most similar known name; None if none is similar."""
    similar = similar_name(name, known)
    return None if similar is None else f"did you mean {similar!r}?"
