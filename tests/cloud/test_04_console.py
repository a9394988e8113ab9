"""The guest's screen in a browser: a typed key changes it, a ticket works once."""

import pytest
from playwright.sync_api import Browser, Page

from tests.chromium import running_chromium
from tests.cloud.cloud import Cloud, http_status
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud


def open_console(browser: Browser, url: str) -> Page:
    # The proxy's certificate is of the cloud's own CA, which this browser does not know.
    page = browser.new_context(ignore_https_errors=True).new_page()
    page.goto(url)
    return page


def colours(page: Page) -> int:
    """Different colours on the screen: a black canvas has one."""
    count: int = page.evaluate(
        """() => {
            const canvas = document.querySelector("canvas");
            if (!canvas || !canvas.width) return 0;
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            const seen = new Set();
            for (let at = 0; at < data.length; at += 4)
                seen.add(data[at] + "," + data[at + 1] + "," + data[at + 2]);
            return seen.size;
        }"""
    )
    return count


def picture(page: Page) -> bytes:
    return page.locator("canvas").screenshot()


def test_screen_is_seen_and_typed_at(cloud: Cloud, tenant: Tenant) -> None:
    endpoint = cloud.api.createConsoleEndpoint(virtualmachineid=tenant.vms["web1"]["id"])["consoleendpoint"]
    assert endpoint["success"] is True
    with running_chromium() as browser:
        page = open_console(browser, endpoint["url"])
        page.wait_for_selector("canvas", timeout=60_000)
        eventually(lambda: colours(page) > 1, "the guest's screen is not black", 60)
        before = picture(page)
        page.locator("canvas").click()
        page.keyboard.type("tiny")
        eventually(lambda: picture(page) != before, "typed keys show on the screen", 30)
        again = open_console(browser, endpoint["url"])
        eventually(lambda: "used" in again.inner_text("body").lower(), "a ticket works once", 30)


def test_only_a_running_vm_has_a_console(cloud: Cloud, tenant: Tenant) -> None:
    proxy = next(vm for vm in cloud.api.listSystemVms()["systemvm"] if vm["systemvmtype"] == "consoleproxy")
    assert http_status(cloud.machine, f"https://{proxy['publicip']}/console.html") == "200"
    assert http_status(cloud.internet, f"http://{proxy['publicip']}/", 3) == "000", "no plain HTTP"
