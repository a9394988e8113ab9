"""The store: SQLAlchemy tables, sessions and queries; SQLite by default, PostgreSQL by URL."""
