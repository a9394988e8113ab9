"""The API reference: what the registry knows of each command, with an example that a test runs.

`stories` holds the examples, `pages` makes HTML of it for `/client/reference`, `text` the words of
`pileus api --help COMMAND`. Nothing is written twice: parameters, fields and rights are the registry's.
"""
