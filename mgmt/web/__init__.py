"""The built-in page at `/`: log in, see VMs and their states, open a console, follow jobs.

Plain HTML and one script that speaks the public API like any client. No build, no framework; the
Content-Security-Policy allows nothing but the page's own files.
"""

from collections.abc import Callable

from flask import Blueprint, Response, send_from_directory

from mgmt.web.headers import HEADERS

FOLDER = "static"
FILES = {
    "/": "index.html",
    "/page.js": "page.js",
    "/page.css": "page.css",
    "/reference.css": "reference.css",
    "/favicon.svg": "favicon.svg",
}


def create_pages() -> Blueprint:
    """The page's files, each at its own address; nothing else in the folder can be asked for."""
    pages = Blueprint("pages", __name__)
    for path, name in FILES.items():
        pages.add_url_rule(path, name.replace(".", "_"), _sender(pages, name), methods=["GET"])
    return pages


def _sender(pages: Blueprint, name: str) -> Callable[[], Response]:
    def send() -> Response:
        response = send_from_directory(f"{pages.root_path}/{FOLDER}", name)
        response.headers.update(HEADERS)
        return response

    return send
