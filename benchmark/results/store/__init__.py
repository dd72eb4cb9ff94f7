"""The database as a file or a server: location, connections, locking, journal mode, backup and schema upgrade."""
