"""What the database looks like: tables, views, versions and migrations."""
