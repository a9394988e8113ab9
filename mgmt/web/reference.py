"""The API reference at `/client/reference`: an index, and a page for each group of commands.

Made from the registry when it is asked for, so it is true of the server that shows it. As public as the
OpenAPI document: it says what there is, nothing of what is in it.
"""

from flask import Blueprint, Response, abort, make_response, render_template

from mgmt.api.reference.described import groups, refusals
from mgmt.web.headers import HEADERS


def create_reference() -> Blueprint:
    """Index and pages."""
    pages = Blueprint("reference", __name__, template_folder="templates", url_prefix="/client/reference")

    @pages.get("/")
    def index() -> Response:
        return _page("index.html", groups=groups(), refusals=refusals())

    @pages.get("/<name>")
    def group(name: str) -> Response:
        found = next((item for item in groups() if item.name == name), None)
        if found is None:
            abort(404)
        return _page("group.html", group=found, refusals=refusals())

    return pages


def _page(template: str, **values: object) -> Response:
    response = make_response(render_template(f"reference/{template}", **values))
    response.headers.update(HEADERS)
    return response
