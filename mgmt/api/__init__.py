"""The CloudStack API: registry of typed commands, dispatcher, wire, doors. How to add one: README.md here."""
