"""Pages run by AppTest, and what they say."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.browsing import ROOT


def run_page(name: str, **query: str | list[str]) -> AppTest:
    """A page as it opens at an address, through app.py."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    return app.run() if name == "home" else app.switch_page(f"pages/{name}.py").run()


def fine(app: AppTest) -> AppTest:
    """The page, which must have drawn without an error."""
    assert not app.exception
    assert not app.error
    return app


def words(app: AppTest) -> str:
    """All that is said in running text."""
    kinds = (app.markdown, app.caption, app.info, app.warning, app.subheader, app.success)
    return "\n".join(item.value for kind in kinds for item in kind)
