"""Templates of configuration files: Jinja2 that refuses what it does not know, and filters that quote.

Templates only loop and print; every decision and every sum is made in Python before. There is no
escaping by default, because each format quotes differently; a value that a tenant chose passes one of
the filters here, or is built from a typed value (`ipaddress`, int) that cannot hold anything else.

    {{ name | word }}          one token: letters, digits and ._:/@%+,=[]~- only
    {{ text | line }}          free text on one line: no control characters
    {{ text | quoted }}        "…" with \\ and " escaped (haproxy, nft comments)
    {{ value | json }}         JSON on one line
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from systemvm.engine.errors import EngineError
from systemvm.spec.state import State

# No whitespace, quotes, braces, semicolons, comment marks, dollars or backslashes: safe unquoted in
# dnsmasq, haproxy, keepalived and nft files alike.
_WORD = re.compile(r"[A-Za-z0-9._:/@%+,=\[\]~-]+")


class UnsafeValue(EngineError):
    """A value cannot stand in a configuration file; `check` should have said so before."""

    code = "unsafe_value"


def word(value: object) -> str:
    """One unquoted token. Raises UnsafeValue when it is empty or holds anything but harmless characters."""
    text = str(value)
    if not _WORD.fullmatch(text):
        raise UnsafeValue(f"{text!r} cannot stand unquoted in a configuration file")
    return text


def line(value: object) -> str:
    """Free text that stays on its line. Raises UnsafeValue on line breaks and other control characters."""
    text = str(value)
    if not text.isprintable():
        raise UnsafeValue(f"{text!r} holds control characters")
    return text


def quoted(value: object) -> str:
    """Text in double quotes, with backslashes and double quotes escaped. Raises UnsafeValue as `line`."""
    return '"' + line(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def to_json(value: object) -> str:
    """JSON on one line, keys sorted: equal values have equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def render_template(folder: Path, template: str, state: State, **values: Any) -> str:
    """The text of `folder/template`, with `values`, `header` and nothing else to print.

    `header` is the sentence that starts every file (put it behind the format's comment mark). It names
    the document, never the generation: equal desired states have equal bytes. Raises
    jinja2.UndefinedError for a name that is not in `values`, UnsafeValue from the filters.
    """
    return _environment(folder).get_template(template).render(header=header(state), **values)


def header(state: State) -> str:
    """First line of every rendered file, without the comment mark."""
    return (
        f"Do not edit: rendered from the document of machine {state.machine} ({state.role.value}); "
        "the next change from the management server overwrites it."
    )


@cache
def _environment(folder: Path) -> Environment:
    # No autoescape: HTML escapes would corrupt configuration files (and would not make them safe).
    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({"word": word, "line": line, "quoted": quoted, "json": to_json})
    return environment
