"""A tenant's and an administrator's day on a real management server; every secret of it, by name."""

import base64
import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyotp
import pytest
from cs import CloudStack, CloudStackApiException

from tests.mgmt_server import (
    ManagementServer,
    build_zone,
    create_network,
    deploy,
    eventually,
    ready_template,
)


def canary() -> str:
    """A value that nothing else has; letters and digits, so that it looks the same in JSON, SQL and URLs."""
    return f"Canary7{secrets.token_hex(12)}"


@dataclass
class Browser:
    """Somebody with cookies."""

    server: ManagementServer
    http: httpx.Client
    key: str = ""

    def call(self, command: str, **parameters: str) -> httpx.Response:
        """Whatever it answers."""
        form = {"command": command, "response": "json", "sessionkey": self.key, **parameters}
        return self.http.post(self.server.endpoint, data=form)

    def body(self, command: str, **parameters: str) -> dict[str, Any]:
        """The body of a call that must succeed."""
        answer = self.call(command, **parameters)
        assert answer.status_code == 200, answer.text
        (body,) = answer.json().values()
        return dict(body)


@dataclass
class Day:
    """What was done; `known` holds the secrets, `refused` the texts of refusals."""

    server: ManagementServer
    admin: CloudStack
    open: ExitStack
    known: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    zone: str = ""

    def new(self, name: str) -> str:
        """A secret of somebody's choice."""
        return self.known.setdefault(name, canary())

    def live(self) -> "Day":
        """The whole day."""
        self.zone = build_zone(self.admin)
        eventually(lambda: len(self.admin.listSystemVms(state="Running").get("systemvm", [])) == 2)
        template = ready_template(self.admin, self.zone)
        self.admin.updateTemplatePermissions(id=template, ispublic=True)
        self._administrators_mistakes()
        browser = self._accounts()
        tenant = self._keys(browser)
        self._machines(tenant, template)
        self._changes(browser)
        return self

    def _refused(self, answer: httpx.Response) -> None:
        assert answer.status_code >= 400, answer.text
        self.refused += [answer.text, answer.headers.get("X-Description", "")]

    def _administrators_mistakes(self) -> None:
        """Credentials where none belong: hosts are trusted by certificate, downloads have none."""
        admin = self.log_in("admin", self.server.password, "admin's session")
        zone = {"zoneid": self.zone}
        pod = admin.body("listPods", **zone)["pod"][0]["id"]
        cluster = admin.body("listClusters", **zone)["cluster"][0]["id"]
        place = {**zone, "podid": pod, "clusterid": cluster, "hypervisor": "Simulator"}
        credentials = {"username": self.new("host user"), "password": self.new("host password")}
        admin.body("addHost", url="https://172.31.240.2:8445", **place, **credentials)
        login = f"{self.new('url user')}:{self.new('url password')}"
        image = {"name": "x", "displaytext": "x", "format": "QCOW2", "hypervisor": "KVM", **zone}
        self._refused(admin.call("registerTemplate", url=f"http://{login}@example.com/x.qcow2", **image))
        self._refused(admin.call("registerIso", url=f"http://{login}@example.com/x.iso", **image))
        admin.body("addHost", url=f"https://{login}@172.31.240.3:8445", **place)
        self._refused(admin.call("createStoragePool", name="x", url=f"nfs://{login}@nas/x", **place))

    def _accounts(self) -> Browser:
        """bob's first password, typing mistakes, his second factor; his session."""
        person = {"firstname": "Bob", "lastname": "B", "email": "bob@example.com", "accounttype": "0"}
        password = self.new("first password")
        self.admin.createAccount(username="bob", password=password, **person)
        wrong = self.browser()
        form = {"username": "bob", "password": self.new("mistyped password")}
        self._refused(wrong.call("login", **form))
        self._refused(wrong.call("login", username=self.new("password typed as user name"), password="x"))
        browser = self.log_in("bob", password, "first session")
        seed = browser.body("setupUserTwoFactorAuthentication")["setup2fa"]["secretcode"]
        self.known["TOTP seed"] = seed
        browser.body("validateUserTwoFactorAuthenticationCode", codefor2fa=pyotp.TOTP(seed).now())
        return browser

    def _keys(self, browser: Browser) -> CloudStack:
        """API keys, a wrong signature, an SSH key of the cloud's making."""
        user = browser.body("listUsers", username="bob")["user"][0]["id"]
        self.known["user"] = user
        keys = browser.body("registerUserKeys", id=user)["userkeys"]
        self.known["secret key"] = keys["secretkey"]
        tenant = CloudStack(
            self.server.endpoint, keys["apikey"], keys["secretkey"], poll_interval=0.1, job_timeout=60
        )
        self.known["signature"] = self.new("wrong signature")
        query = {"command": "listZones", "apikey": keys["apikey"], "response": "json"}
        query["signature"] = self.known["wrong signature"]
        self._refused(self.browser().http.get(self.server.endpoint, params=query))
        pem = tenant.createSSHKeyPair(name="made")["keypair"]["privatekey"]
        self.known["SSH private key"] = pem.splitlines()[3]
        return tenant

    def _machines(self, tenant: CloudStack, template: str) -> None:
        """A VM with user data and a password, its console, a job that fails."""
        network = create_network(tenant, self.zone, "bobs")
        vm = deploy(tenant, self.zone, template, network, "bobs")
        self.known["VM password"] = vm["password"]
        data = base64.b64encode(f"#!/bin/sh\n# {self.new('user data')}\n".encode()).decode()
        tenant.stopVirtualMachine(id=vm["id"], fetch_result=True)
        tenant.resetUserDataForVirtualMachine(id=vm["id"], userdata=data, fetch_result=True)
        again = tenant.resetPasswordForVirtualMachine(id=vm["id"], fetch_result=True)["virtualmachine"]
        self.known["second VM password"] = again["password"]
        tenant.startVirtualMachine(id=vm["id"], fetch_result=True)
        self._failed_job(tenant, template, network)
        url = tenant.createConsoleEndpoint(virtualmachineid=vm["id"])["consoleendpoint"]["url"]
        self.known["console ticket"] = urlsplit(url).fragment
        extract = self.admin.extractTemplate(id=template, mode="HTTP_DOWNLOAD", fetch_result=True)
        self.known["download ticket"] = urlsplit(extract["template"]["url"]).path.split("/")[3]

    def _failed_job(self, tenant: CloudStack, template: str, network: str) -> None:
        """A deployment that the host refuses: its words are in the job, the VM and the events."""
        data = base64.b64encode(f"#!/bin/sh\n# {self.new('user data of a failure')}\n".encode()).decode()
        fault = self.admin.configureSimulator(name="put_domain", value="result:fail")
        try:
            with pytest.raises(CloudStackApiException) as failure:
                deploy(tenant, self.zone, template, network, "refused", userdata=data)
        finally:
            self.admin.cleanupSimulatorMock(id=fault["id"])
        self.refused.append(str(failure.value))

    def _changes(self, browser: Browser) -> None:
        """A new password, refused at first, and the end of the session."""
        user = self.known.pop("user")
        long = self.new("password that is too long") + "x" * 3000
        self._refused(browser.call("updateUser", id=user, password=long, currentpassword="x"))
        wrong = self.new("wrong current password")
        self._refused(
            browser.call("updateUser", id=user, password=self.new("never taken"), currentpassword=wrong)
        )
        current, password = self.known["first password"], self.new("second password")
        browser.body("updateUser", id=user, password=password, currentpassword=current)
        browser.call("logout")

    def browser(self) -> Browser:
        """Somebody with no cookies yet."""
        return Browser(self.server, self.open.enter_context(httpx.Client(trust_env=False, timeout=30)))

    def log_in(self, name: str, password: str, what: str) -> Browser:
        """A session, its two secrets kept as `what`."""
        browser = self.browser()
        browser.key = browser.body("login", username=name, password=password)["sessionkey"]
        self.known |= {f"{what}: {cookie.name}": str(cookie.value) for cookie in browser.http.cookies.jar}
        self.known[f"{what}: key"] = browser.key
        return browser
