"""The page's files and the headers that keep others out of it."""

import re
from pathlib import Path

import pytest
from flask import Flask

from mgmt.web import FILES, create_pages

pytestmark = pytest.mark.unit
STATIC = Path(__file__).parents[4] / "mgmt" / "web" / "static"


@pytest.fixture
def app() -> Flask:
    made = Flask("test", static_folder=None)
    made.register_blueprint(create_pages())
    return made


@pytest.mark.parametrize("path", sorted(FILES))
def test_files_are_sent_with_a_strict_policy(app: Flask, path: str) -> None:
    with app.test_client().get(path) as answer:
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.data == (STATIC / FILES[path]).read_bytes()


@pytest.mark.parametrize("path", ["/index.html", "/../__init__.py", "/__init__.py", "/static/page.js"])
def test_nothing_else_is_there(app: Flask, path: str) -> None:
    assert app.test_client().get(path).status_code == 404


def test_the_page_has_nothing_inline_and_makes_no_markup_of_data() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\son\w+=|\sstyle=|<style", page)
    script = (STATIC / "page.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", script)
