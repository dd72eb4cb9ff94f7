"""Rows of the database become statistics, tables and figures, and one writer for each format."""
