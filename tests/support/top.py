"""The live view of `horsies top` without a terminal: keys go to it directly, and its screen is read as text."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from horsies import Horsies
from horsies.top.live import Top

WAIT_S = 20.0


class Viewer:
    """Presses keys and reads the screen.

    Attributes:
        view: The live view.
    """

    def __init__(self, view: Top, pilot: Pilot[None]) -> None:
        self.view = view
        self._pilot = pilot

    def text(self) -> str:
        """Return the text on the screen."""
        return "\n".join(strip.text.rstrip() for strip in self.view.screen._compositor.render_strips())

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)

    async def type(self, text: str) -> None:
        await self._pilot.press(*("space" if each == " " else each for each in text))

    async def resize(self, width: int, height: int) -> None:
        await self._pilot.resize_terminal(width, height)

    async def wait_until(self, condition: Callable[[], object], describe: str) -> None:
        """Wait until a condition is true."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {describe}\n{self.text()}"
            await self._pilot.pause(0.02)

    async def wait_for(self, *texts: str) -> str:
        """Wait until the screen shows all texts, perhaps on several lines, and return what it shows."""

        def shows_all() -> bool:
            shown = " ".join(self.text().replace("│", " ").split())
            return all(each in shown for each in texts)

        await self.wait_until(shows_all, f"{texts} on the screen")
        return self.text()

    async def wait_until_gone(self, text: str) -> None:
        """Wait until the screen does not show a text."""
        await self.wait_until(lambda: text not in self.text(), f"{text!r} to vanish")


def watch(
    app: Horsies,
    script: Callable[[Viewer], Awaitable[None]],
    wanted: str = "",
    *,
    enable_actions: bool = False,
    has_colors: bool = True,
    size: tuple[int, int] = (120, 40),
) -> None:
    """Run the live view, and a script that uses it, in an event loop that ends with them."""

    async def main() -> None:
        broker = app.get_broker(who="ada")
        view = Top(broker, "postgresql://shop", wanted, enable_actions=enable_actions, has_colors=has_colors)
        try:
            async with view.run_test(size=size, notifications=True) as pilot:
                await script(Viewer(view, pilot))
        finally:
            await app.close_async()

    asyncio.run(main())
