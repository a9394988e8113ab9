"""The reference in the browser and in the terminal: every command, with what the registry says."""

import re

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

from appliance.cli.api.commands import api_command
from mgmt.api.app import load_commands
from mgmt.api.reference.described import described, groups, refusals
from mgmt.api.registry import REGISTRY
from mgmt.web.reference import create_reference

pytestmark = pytest.mark.unit

load_commands()


@pytest.fixture(scope="module")
def browser() -> FlaskClient:
    app = Flask("test", static_folder=None)
    app.register_blueprint(create_reference())
    return app.test_client()


def test_every_command_is_on_one_page_that_the_index_links(browser: FlaskClient) -> None:
    index = browser.get("/client/reference/")
    assert "default-src 'none'" in index.headers["Content-Security-Policy"]
    linked = re.findall(r'href="(\w+)#(\w+)"', index.text)
    assert sorted(name for _, name in linked) == [item.name for item in REGISTRY.all()]
    for group in groups():
        page = browser.get(f"/client/reference/{group.name}").text
        anchors = re.findall(r'<section id="(\w+)">', page)
        assert anchors == [name for where, name in linked if where == group.name]
        assert not re.search(r"<script|\son\w+=|\sstyle=", page)


def test_a_page_says_all_about_a_command(browser: FlaskClient) -> None:
    page = browser.get("/client/reference/vm_lifecycle").text
    assert "pileus api stopVirtualMachine id=&lt;vm&gt;" in page
    assert "state=Stopped" in page
    assert "<code>forced</code>" in page


def test_there_are_no_other_pages(browser: FlaskClient) -> None:
    assert browser.get("/client/reference/nothing").status_code == 404


def test_every_code_has_words() -> None:
    assert all(words.endswith(".") for words in refusals().values())
    assert {code for group in groups() for item in group.commands for code in item.codes} <= set(refusals())


def test_the_terminal_has_the_same() -> None:
    said = CliRunner().invoke(api_command, ["--help", "createvolume"])
    assert said.exit_code == 0, said.output
    for words in (
        "createVolume: ",
        "name (string, required)",
        "For everybody",
        "pileus api createVolume",
        "431",
    ):
        assert words in said.output
    assert said.output == CliRunner().invoke(api_command, ["createVolume", "--help"]).output


def test_the_terminal_without_a_command_says_how() -> None:
    assert "Usage" in CliRunner().invoke(api_command, []).output
    unknown = CliRunner().invoke(api_command, ["makeCoffee", "--help"])
    assert unknown.exit_code == 1
    assert "listApis" in unknown.output
    assert described("makeCoffee") is None
