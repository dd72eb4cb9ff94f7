"""The database as a file or a server: where it is, how it is opened, locked, backed up and brought up to date."""
