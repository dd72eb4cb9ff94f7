"""What the schema promises, and databases as places, held on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from results_samples import (
    MACHINE,
    begin,
    cell,
    change,
    run_cell,
)
from results_targets import administer

from benchmark import layout
from benchmark.errors import BusyError, SchemaError
from benchmark.results.artifacts.artifact_folder import claim, folder_of
from benchmark.results.read import user_query
from benchmark.results.schema.migrate import migrate
from benchmark.results.schema.tables import (
    SCHEMA_VERSION,
    VERSION_TABLE,
    execution,
    metadata,
    run,
)
from benchmark.results.schema.tables import epoch as epoch_table
from benchmark.results.schema.versions import tables_of
from benchmark.results.schema.views import HISTORY, RESULTS, VIEWS
from benchmark.results.store import lock
from benchmark.results.store.database import open_database
from benchmark.results.store.lock import lock_database
from benchmark.results.store.upgrade import upgrade_database


class TestSchema:
    def test_what_the_migrations_build_is_what_the_schema_says(self, database):
        with database.reading() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            assert compare_metadata(context, metadata) == []

    @pytest.mark.parametrize(("view", "columns"), [("results", RESULTS), ("history", HISTORY)])
    def test_the_views_have_exactly_the_documented_columns_from_where_they_say(self, database, view, columns):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        with database.reading() as connection:
            row = connection.exec_driver_sql(f"SELECT * FROM {view}").mappings().first()
            assert list(row) == list(columns)
            tables = execution.join(run, run.c.run_id == execution.c.run_id)
            source = sa.select(*(column.label(name) for name, column in columns.items()))
            from benchmark.results.schema.tables import cell as cell_table

            tables = tables.join(cell_table, cell_table.c.cell_id == execution.c.cell_id)
            tables = tables.join(epoch_table, epoch_table.c.execution_id == execution.c.execution_id)
            ordered = source.select_from(tables).order_by(epoch_table.c.epoch)
            assert dict(row) == dict(connection.execute(ordered).mappings().first())

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE execution SET test_accuracy = 1.0",
            "UPDATE attempt SET detail = 'x'",
            "UPDATE epoch SET train_loss = 0.0",
            (
                "INSERT INTO epoch SELECT execution_id, 9, attempt_id, run_id, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "
                "traced, improved, NULL, NULL, NULL FROM epoch WHERE epoch = 1"
            ),
        ],
    )
    def test_what_is_final_does_not_change_even_by_hand(self, database, sql):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        with pytest.raises(sa.exc.IntegrityError, match="final"):
            change(database, sql)

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE execution SET status = 'done'",
            "UPDATE execution SET cause = 'bad luck'",
            "UPDATE run SET state = 'x'",
        ],
    )
    def test_states_come_from_closed_lists(self, database, sql):
        recorder, run_id = begin(database, [cell()])
        recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        with pytest.raises(sa.exc.IntegrityError):
            change(database, sql)

    def test_an_execution_has_one_running_attempt_at_most(self, database):
        recorder, run_id = begin(database, [cell()])
        recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        with pytest.raises(sa.exc.IntegrityError):
            recorder.start_attempt(run_id, cell().cell_id, MACHINE)

    def test_upgrading_the_newest_schema_does_nothing(self, target):
        open_database(target, mode="write").close()
        done = upgrade_database(target)
        assert (done.old, done.new, done.backup) == (2, 2, None)


class TestLock:
    def test_a_second_run_is_refused_and_told_who_holds_the_database(self, target):
        with lock_database(target):
            for _ in range(3):
                with pytest.raises(BusyError, match=rf"process {os.getpid()} on ") as caught, lock_database(target):
                    pass
            assert caught.value.exit_code == 75
        with lock_database(target):
            pass

    def test_the_lock_is_free_again_after_an_error(self, target):
        with pytest.raises(RuntimeError), lock_database(target):
            raise RuntimeError
        with lock_database(target, wait=True):
            pass


class TestArtifactsFolder:
    def test_it_is_found_from_any_folder(self, target, tmp_path, monkeypatch):
        places = [tmp_path / name for name in ("here", "elsewhere")]
        claimed = []
        for place in places:
            place.mkdir()
            monkeypatch.chdir(place)
            with open_database(target, mode="write") as database:
                begin(database, [cell()])
                with database.transaction() as connection:
                    root = layout.artifacts_folder(database.path)
                    claimed.append(claim(database.location, connection, root).absolute())
            assert folder_of(target).absolute() == claimed[0]
        assert claimed[0] == claimed[1]
        shutil.rmtree(claimed[0])
        assert folder_of(target) == layout.artifacts_folder(database.path)


@pytest.mark.postgres
class TestServer:
    @pytest.mark.parametrize("target", ["postgresql"], indirect=True)
    def test_rows_of_an_older_schema_are_filled_as_in_a_file(self, target, tmp_path):
        old = Path(__file__).with_name("fixtures") / "schema" / "v1.sqlite"
        engine, file = administer(sa.make_url(target)), sa.create_engine(f"sqlite:///{old}")
        migrate(engine, version=1)
        with file.connect() as there, engine.begin() as here:
            for table in tables_of(1):
                columns = sa.inspect(there).get_columns(table)
                source = sa.Table(table, sa.MetaData(), *(sa.Column(one["name"], one["type"]) for one in columns))
                rows = [dict(row) for row in there.execute(sa.select(source)).mappings()]
                # triggers keep out what belongs to a final execution
                here.exec_driver_sql("SET session_replication_role = replica")
                here.execute(source.insert(), rows)
        engine.dispose()
        for mode in ("read", "write"):
            with pytest.raises(SchemaError, match="bench db upgrade"):
                open_database(target, mode=mode)
        done = upgrade_database(target)
        assert (done.old, done.new, done.backup) == (1, SCHEMA_VERSION, None)
        copy = shutil.copy(old, tmp_path)
        for view in VIEWS:
            order = {"history": "execution_id, epoch", "looks": "look_id"}.get(view, "execution_id")
            with open_database(target, mode="read") as server, open_database(copy, mode="read") as files:
                sql = f"SELECT * FROM {view} ORDER BY {order}"
                assert user_query.read_only_query(server, sql) == user_query.read_only_query(files, sql)

    def test_tables_of_others_are_never_touched(self, server):
        name = f"bench_foreign_{os.getpid()}"
        admin = administer(server)
        with admin.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}; CREATE TABLE {name}.run (a int)")
        url = server.update_query_dict({"options": f"-csearch_path={name}"})
        with pytest.raises(SchemaError, match="the tables run are there, but bench did not make them"):
            open_database(url.render_as_string(hide_password=False), mode="write")
        with admin.begin() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")

    def test_the_password_and_the_query_stay_out_of_names(self, server):
        url = server.set(password="canary").update_query_dict({"sslpassword": "canary"})
        from benchmark.results.store.location import locate

        assert "canary" not in locate(url.render_as_string(hide_password=False)).name

    def test_the_refusal_names_the_holder_of_the_same_database_and_schema(self, server, monkeypatch):
        other, schemas = f"bench_other_{os.getpid()}", [f"bench_{name}_{os.getpid()}" for name in ("a", "b")]
        admin = administer(server).execution_options(isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {other}")
            for schema in schemas:
                connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        urls = [
            server.set(database=other),
            *[server.update_query_dict({"options": f"-csearch_path={s}"}) for s in schemas],
        ]
        places = [url.render_as_string(hide_password=False) for url in urls]
        try:
            with ExitStack() as held:
                for number, place in enumerate(places, 1):
                    monkeypatch.setattr(lock.os, "getpid", lambda number=number: number)
                    monkeypatch.setattr(lock.socket, "gethostname", lambda number=number: f"host{number}")
                    held.enter_context(lock_database(place))
                for number, place in enumerate(places, 1):
                    with pytest.raises(BusyError, match=f"process {number} on host{number}"), lock_database(place):
                        pass
        finally:
            with admin.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {other} WITH (FORCE)")
                for schema in schemas:
                    connection.exec_driver_sql(f"DROP SCHEMA {schema}")
