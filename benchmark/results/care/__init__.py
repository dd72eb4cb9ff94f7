"""Looking after a database: check, salvage, merge, and files that belong to nothing."""
