"""What the proxy process is told, as files: `proxy.json` and PEM files in one folder."""

import ssl
from pathlib import Path

from msgspec import Struct

from systemvm.spec import codec
from systemvm.spec.appliances import Console, HostEndpoint

#: Names of the files in the folder.
SETTINGS, CERTIFICATE, KEY = "proxy.json", "server.pem", "server.key"
CLIENT_CERTIFICATE, CLIENT_KEY, SERVER_CA = "client.pem", "client.key", "hosts-ca.pem"


class ProxySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ticket_key` is mgmt's public key in PEM; `hosts` by their ids."""

    ticket_key: str
    hosts: tuple[HostEndpoint, ...] = ()


class Settings:
    """The files of one folder, loaded: settings, and TLS contexts for browsers and for hosts.

    Raises OSError, ssl.SSLError or DocumentError when a file is missing or wrong.
    """

    def __init__(self, folder: Path) -> None:
        loaded = codec.decode((folder / SETTINGS).read_bytes(), ProxySettings)
        self.ticket_key = loaded.ticket_key
        self.hosts = {endpoint.host: endpoint for endpoint in loaded.hosts}
        self.browsers = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.browsers.minimum_version = ssl.TLSVersion.TLSv1_3
        self.browsers.load_cert_chain(folder / CERTIFICATE, folder / KEY)
        self.relays = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.relays.minimum_version = ssl.TLSVersion.TLSv1_3
        self.relays.load_verify_locations(folder / SERVER_CA)
        self.relays.load_cert_chain(folder / CLIENT_CERTIFICATE, folder / CLIENT_KEY)


def files_of(console: Console) -> dict[str, str]:
    """File name to text, for `Settings` to load."""
    settings = ProxySettings(ticket_key=console.ticket_key, hosts=console.hosts)
    return {
        SETTINGS: codec.encode(settings).decode(),
        CERTIFICATE: console.certificate,
        KEY: console.key,
        CLIENT_CERTIFICATE: console.client_certificate,
        CLIENT_KEY: console.client_key,
        SERVER_CA: console.server_ca,
    }
