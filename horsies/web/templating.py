"""The templates of the pages, and the versions of their regions."""

import hashlib
import re
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from horsies.monitoring.filters import term
from horsies.version import __version__
from horsies.web import formats, marks
from horsies.web.pages.page import Page
from horsies.web.pages.task import usual_text
from horsies.web.visit import Visit

_TEXT_OF_TIMES = re.compile(r"(<time [^>]*>)[^<]*")
_DIGEST_CHARACTERS = 16
_REGION = Markup(
    '<section class="{classes}" id="region-{name}" data-region="{name}" data-version="{version}">{content}</section>'
)
_ASSETS = {"horsies.css": "text/css; charset=utf-8", "horsies.js": "text/javascript; charset=utf-8"}


class Assets:
    """The style sheet and the script, with a digest that is part of their URLs."""

    def __init__(self) -> None:
        folder = files("horsies.web") / "static"
        self.contents = {name: (folder / name).read_bytes() for name in _ASSETS}
        self.digest = _digest(b"".join(self.contents.values()))

    def media_type(self, name: str) -> str:
        """Return the content type of a file."""
        return _ASSETS[name]


class Templates:
    """Renders pages.

    Args:
        pages: All pages, for the navigation.
        assets: The files that pages load.
    """

    def __init__(self, pages: tuple[Page, ...], assets: Assets) -> None:
        self._environment = Environment(
            loader=PackageLoader("horsies.web"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=formats.shown,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        names: dict[str, Any] = {}
        names["pages"] = [each for each in pages if each.in_navigation]
        names["assets"] = assets.digest
        names["library_version"] = __version__
        functions = (
            marks.hidden,
            marks.moment,
            marks.short_id,
            marks.status,
            term,
            usual_text,
            formats.counted,
            formats.block,
            formats.document,
            formats.rate,
            formats.seconds,
        )
        for function in functions:
            names[function.__name__] = function
        for made in (formats.duration, formats.exact, formats.iso, formats.line, formats.number, formats.utc):
            self._environment.filters[made.__name__] = made
        self._environment.globals.update(names)

    def regions(self, page: Page, visit: Visit, view: object) -> dict[str, Markup]:
        """Render each region of a page."""
        now = datetime.now(UTC)
        context = {
            "view": view,
            "visit": visit,
            "page": page,
            "since": partial(marks.since, now=now),
            "elapsed": partial(marks.elapsed, now=now),
            "aged": partial(marks.aged, now=now),
        }
        return {
            name: Markup(self._environment.get_template(f"{page.name}/{name}.html").render(context))  # noqa: S704
            for name in page.regions
        }

    def page(self, page: Page, visit: Visit, view: object, regions: dict[str, Markup]) -> str:
        """Render a whole page."""
        known = versions(regions)

        def region(name: str, classes: str = "panel") -> Markup:
            return _REGION.format(name=name, classes=classes, version=known[name], content=regions[name])

        template = self._environment.get_template(f"{page.name}/page.html")
        now = formats.iso(datetime.now(UTC))
        return template.render(view=view, visit=visit, page=page, region=region, now=now)

    def error(self, status: int, message: str, root: str) -> str:
        """Render a page that says what is wrong with a request, or that the database does not answer."""
        return self._environment.get_template("error.html").render(status_code=status, message=message, root=root)


def versions(regions: dict[str, Markup]) -> dict[str, str]:
    """Return a digest of each region. Times that pass do not change it: the script keeps them up to date."""
    return {name: _digest(_TEXT_OF_TIMES.sub(r"\1", html).encode()) for name, html in regions.items()}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_CHARACTERS]
