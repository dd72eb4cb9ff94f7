"""Rows of the database → groups of seeds → statistics → tables → one writer for each format. Nothing here asks SQL."""
