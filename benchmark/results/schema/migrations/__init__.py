"""The steps from one schema version to the next, as Alembic reads them.

A released step never changes and imports nothing of the program. To write the next one:

- raise `SCHEMA_VERSION` in `schema.py`, and commit a database of the version before it (`tests/make_schema_fixture.py`);
- SQLite changes a table by building it anew: drop the views first and create them again at the end, and create the
  triggers of the table again, which go with it;
- write `sa.Double` and `sa.Text`, and names inside `op.f()`, or the test for drift will complain.
"""
