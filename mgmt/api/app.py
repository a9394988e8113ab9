"""The Flask application: `/client/api` for all commands, and what describes them."""

import importlib
import json
import pkgutil
import time
from collections.abc import Callable

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from mgmt.api import commands
from mgmt.api.auth import Attempt, authenticate, check_method, refuse_foreign_page
from mgmt.api.call import Context
from mgmt.api.dispatch import dispatch, find_command
from mgmt.api.openapi import openapi
from mgmt.api.params import Form
from mgmt.api.registry import REGISTRY
from mgmt.api.responses.login import login_response
from mgmt.api.sessions import KEY_COOKIE, SESSION_COOKIE, OpenedSession, log_in, log_out, read_credentials
from mgmt.api.turns import ReadingTurns
from mgmt.api.wire import as_cloud_error, read_pairs, respond, respond_error, wants_json
from mgmt.metrics.measured import CALL_SECONDS, CALLS, UNKNOWN
from mgmt.model.errors import Unauthorized, UnknownCommand, WrongMethod

MOST_BYTES = 2 * 1024 * 1024
"""Longest request body: 1 MiB of user data, in base64, and some."""


def load_commands() -> None:
    """Import every module of commands, so that all are registered, and check each.

    Raises `TypeError` for a command that is declared wrongly.
    """
    for module in pkgutil.walk_packages(commands.__path__, f"{commands.__name__}."):
        importlib.import_module(module.name)
    REGISTRY.all()


def create_app(context: Context) -> Flask:
    """The application of one management server."""
    load_commands()
    turns = ReadingTurns(context.database)
    app = Flask("mgmt", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MOST_BYTES, MAX_FORM_MEMORY_SIZE=MOST_BYTES)
    if context.config.trusted_proxies:
        hops = context.config.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]

    @app.route("/client/api", methods=["GET", "POST"])
    @app.route("/client/api/", methods=["GET", "POST"])
    @app.route("/client/api/<command>", methods=["GET", "POST"])
    def api(command: str | None = None) -> Response:
        begun = time.perf_counter()
        response = answer_call(context, turns, command)
        _measure(response, time.perf_counter() - begun)
        return response

    @app.get("/client/openapi.json")
    def document() -> Response:
        return Response(json.dumps(openapi(context.config.version)), content_type="application/json")

    return app


def answer_call(context: Context, turns: ReadingTurns, command: str | None = None) -> Response:
    """Answer the current request; never raises. `command` is the one that the path names."""
    version = context.config.version
    envelope, as_json = "errorresponse", False
    try:
        pairs = read_pairs(request, command)
        as_json = wants_json(pairs)
        attempt = Attempt(request, pairs, {name.lower(): value for name, value in pairs.items()})
        name = attempt.flat.get("command", "")
        if REGISTRY.find(name) or name in DOORS:
            g.command = name
            envelope = f"{name.lower()}response"
        if name in DOORS:
            return DOORS[name](context, attempt, as_json)
        with turns.taken(REGISTRY.find(name)) as reading:
            caller = authenticate(context, attempt, reading)
            registered = find_command(name)
            envelope = registered.envelope
            check_method(context, attempt, registered)
            try:
                body = dispatch(context, caller, registered, Form(pairs), reading)
            except UnknownCommand as refused:
                if attempt.has_key:
                    raise Unauthorized(refused.text) from refused
                envelope = "errorresponse"
                raise
        return respond(envelope, body, as_json=as_json, version=version)
    except Exception as error:  # the one place where every failure becomes an answer
        return respond_error(envelope, as_cloud_error(error), as_json=as_json, version=version)


def _measure(response: Response, seconds: float) -> None:
    name = g.get("command", UNKNOWN)
    CALLS.labels(name, str(response.status_code)).inc()
    CALL_SECONDS.labels(name).observe(seconds)


def _login(context: Context, attempt: Attempt, as_json: bool) -> Response:
    refuse_foreign_page(attempt)
    if attempt.request.method != "POST":
        raise WrongMethod("login must be sent by POST, so that the password is in no log")
    credentials = read_credentials(attempt.flat, attempt.request.remote_addr or "")
    opened = log_in(context, credentials)
    body = login_response(opened)
    response = respond("loginresponse", body, as_json=as_json, version=context.config.version)
    secure = attempt.request.is_secure or (context.config.public_url or "").startswith("https:")
    _set_cookies(response, opened, secure=secure)
    return response


def _set_cookies(response: Response, opened: OpenedSession, *, secure: bool) -> None:
    for name, value in ((SESSION_COOKIE, opened.session_id), (KEY_COOKIE, opened.session_key)):
        response.set_cookie(name, value, httponly=True, samesite="Lax", secure=secure, path="/")


def _logout(context: Context, attempt: Attempt, as_json: bool) -> Response:
    refuse_foreign_page(attempt)
    log_out(context, attempt.request.cookies.get(SESSION_COOKIE))
    body = {"description": "success"}
    response = respond("logoutresponse", body, as_json=as_json, version=context.config.version)
    for name in (SESSION_COOKIE, KEY_COOKIE):
        response.delete_cookie(name, path="/", httponly=True, samesite="Lax")
    return response


DOORS: dict[str, Callable[[Context, Attempt, bool], Response]] = {
    "login": _login,
    "logout": _logout,
}
