"""Where the metadata server finds what it serves; for what writes the files and the process itself."""

#: JSON of all guests, by address; for the server's user alone.
DATA = "/etc/pileus/metadata/guests.json"
#: Which passwords were taken; survives reboots, so that none is given out twice.
STATE_FOLDER = "/var/lib/pileus/metadata"
DATABASE = f"{STATE_FOLDER}/passwords.db"
#: Not the `nobody` of dnsmasq: that one must not be able to read passwords.
USER, GROUP = "www-data", "www-data"
HTTP_PORT, PASSWORD_PORT = 80, 8080
#: Answered only to the machine itself.
HEALTH_PATH = "/pileus/health"
