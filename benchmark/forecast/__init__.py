"""Rows in, seconds out: what cells will take, and how many threads suit them. Starts nothing and writes no database."""
