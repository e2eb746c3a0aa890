"""`Page`: the description of a page."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from horsies.web.access import Right
from horsies.web.visit import Visit


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
        right: What a user must be allowed to do to see it.
    """

    name: str
    path: str
    title: str
    load: Callable[[Visit], Awaitable[object]]
    regions: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    in_navigation: bool = True
    right: Right = Right.VIEW

    @property
    def json_path(self) -> str:
        """The path of the JSON document."""
        return "/overview.json" if self.path == "/" else f"{self.path}.json"
