"""The migrations from one schema version to the next, as Alembic reads them.

A released migration never changes and imports nothing of the program. To write the next one:

- raise `SCHEMA_VERSION` in `tables.py`, and commit a database of the version before it (`tests/make_schema_fixture.py`);
- SQLite changes most of a table only by rebuilding it: drop the views first and create them again at the end, and
  create the table's triggers again, which are dropped with it;
- write `sa.Double` and `sa.Text`, and names inside `op.f()`, or the test that compares the migrations with `tables.py`
  fails.
"""
