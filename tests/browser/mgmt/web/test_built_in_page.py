"""The built-in page in Chromium: log in, see a VM, follow a job, open a console, log out."""

import re
from collections.abc import Iterator
from datetime import datetime

import pyotp
import pytest
from cs import CloudStack
from playwright.sync_api import Browser, Page, expect

from tests.mgmt_server import (
    ManagementServer,
    build_zone,
    create_network,
    deploy,
    eventually,
    ready_template,
    run_server,
)

pytestmark = pytest.mark.browser
NAME = "<b>web</b>"
WAIT_MS = 30_000


def running_system_vms(api: CloudStack) -> list[str]:
    return [vm["name"] for vm in api.listSystemVms().get("systemvm", []) if vm["state"] == "Running"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagementServer]:
    """A cloud with one VM, whose display name would be markup if somebody wrote it as such."""
    with run_server(tmp_path_factory.mktemp("page")) as running:
        api = running.client()
        zone = build_zone(api)
        eventually(lambda: len(running_system_vms(api)) == 2)
        vm = deploy(api, zone, ready_template(api, zone), create_network(api, zone, "net1"), "web")
        api.updateVirtualMachine(id=vm["id"], displayname=NAME)
        yield running


@pytest.fixture
def page(chromium: Browser, server: ManagementServer) -> Iterator[Page]:
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(server.address)
    yield page
    context.close()
    assert not [text for text in refused if "Content Security" in text]


def log_in(page: Page, password: str, name: str = "admin") -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_a_wrong_password_is_told(page: Page) -> None:
    log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("provide valid credentials")
    expect(page.get_by_role("heading", name="Virtual machines")).to_be_hidden()


def test_a_second_factor_is_set_up_and_asked_for(page: Page, server: ManagementServer) -> None:
    person = {"firstname": "Ann", "lastname": "Onym", "email": "ann@example.org", "password": "anns own pw"}
    account = server.client().createAccount(username="ann", accounttype=0, **person)["account"]
    server.client().updateUser(id=account["user"][0]["id"], mandate2fa=True)
    log_in(page, "anns own pw", "ann")
    expect(page.locator("#secret")).to_be_visible()
    expect(page.locator("#secret code")).to_have_text(re.compile("^[A-Z2-7]{32}$"))
    codes = pyotp.TOTP(page.locator("#secret code").inner_text())
    page.get_by_label("Code").fill("no code")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("The code is wrong")
    machines = page.get_by_role("heading", name="Virtual machines")
    expect(machines).to_be_hidden()
    page.get_by_label("Code").fill(codes.now())
    page.get_by_role("button", name="Continue").click()
    expect(machines).to_be_visible()
    page.get_by_role("button", name="Log out").click()

    log_in(page, "anns own pw", "ann")
    expect(page.get_by_label("Code")).to_be_visible()
    expect(page.locator("#secret")).to_be_hidden()
    page.reload()
    page.get_by_label("Code").fill(codes.at(datetime.now(), counter_offset=1))
    page.get_by_role("button", name="Continue").click()
    expect(machines).to_be_visible()


def test_vms_jobs_and_console(page: Page, server: ManagementServer) -> None:
    log_in(page, server.password)
    row = page.locator("#machines tr")
    expect(row).to_contain_text(NAME)
    expect(row.locator(".state")).to_have_text("Running")
    expect(page.locator("#system-machines")).to_contain_text("consoleproxy")

    row.get_by_role("button", name="Stop").click()
    expect(page.locator("#jobs li").first).to_contain_text("stopVirtualMachine")
    expect(page.locator("#jobs li").first).to_contain_text("done after", timeout=WAIT_MS)
    expect(row.locator(".state")).to_have_text("Stopped", timeout=WAIT_MS)
    expect(row.get_by_role("button", name="Open console")).to_be_disabled()

    row.get_by_role("button", name="Start").click()
    expect(row.locator(".state")).to_have_text("Running", timeout=WAIT_MS)

    # Nothing listens at a simulated proxy's address: the browser answers for it, the URL is the real one.
    console = re.compile(r"https://172\.31\.241\.\d+")
    page.context.route(console, lambda route: route.fulfill(body="a console"))
    with page.context.expect_page() as opened:
        row.get_by_role("button", name="Open console").click()
    expect(opened.value.get_by_text("a console")).to_be_visible()
    assert console.match(opened.value.url)
    assert "#" in opened.value.url, "the ticket is in the fragment, which is sent to nobody"


def test_a_session_lasts_over_a_reload_and_ends_by_log_out(page: Page, server: ManagementServer) -> None:
    log_in(page, server.password)
    expect(page.get_by_text("admin in account admin")).to_be_visible()
    page.reload()
    expect(page.locator("#machines tr")).to_contain_text(NAME)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Password")).to_be_visible()
