"""Looking after a database: check, salvage, merge, export, and files that belong to nothing."""
