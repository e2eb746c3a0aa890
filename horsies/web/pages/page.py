"""`Page`: the description of a page."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from horsies.web.access import Right
from horsies.web.visit import Visit

_PARTS = re.compile(r"\{\w+\}|[^{]+")


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        name: Its name, which its templates have as well.
        path: Its path below the overview, with names in braces.
        title: Its heading.
        load: Reads its data: a frozen dataclass, which is also the JSON document of the page.
        regions: The parts that are replaced separately when their data have changed; each has a template.
        parameters: The parameters of its URL.
        in_navigation: Whether the navigation of each page has a link to it.
        right: The right that a user needs to see it.
    """

    name: str
    path: str
    title: str
    load: Callable[[Visit], Awaitable[object]]
    regions: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    in_navigation: bool = True
    right: Right = Right.VIEW

    def match(self, path: str) -> dict[str, str] | None:
        """Return the values in a path below the overview, which begins with a slash; None: it is another page."""
        parts = _PARTS.findall(self.path)
        pattern = "".join(f"(?P<{each[1:-1]}>[^/]+)" if each.startswith("{") else re.escape(each) for each in parts)
        found = re.fullmatch(pattern, path)
        return None if found is None else found.groupdict()

    @property
    def json_path(self) -> str:
        """The path of the JSON document."""
        return "/overview.json" if self.path == "/" else f"{self.path}.json"
