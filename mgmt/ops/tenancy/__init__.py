"""Accounts, projects and domains: their end."""
