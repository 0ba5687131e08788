"""Write ``docs/what-is-said.md``."""

from tests.said.page import PAGE, page

PAGE.write_text(page(), encoding="utf-8")
