"""From sqlite to a real Postgres and back from its dump; rows that do not fit, and a move that broke off."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.backup import move
from tasks.backup.backup import write_backup
from tasks.backup.databases import Database
from tasks.backup.move import Artifacts, move_mlflow
from tasks.backup.restore import restore_backup
from tasks.cli.main import cli
from tasks.core.errors import ConfigError, DataContractError, TransientError
from tasks.core.project import TELEMETRY_OFF, Project
from tasks.release.history import read_history
from tasks.release.registry import Registry
from tests.contract.conftest import unused_ports
from tests.postgres import PASSWORD, Postgres
from tests.unit.backup.conftest import clone

pytestmark = pytest.mark.slow

ASKED = (["status", "--json"], ["versions", "list", "--json"], ["lineage", "2", "--json"])


@pytest.fixture(scope="module")
def postgres():
    found = Postgres(unused_ports(1)[0])
    try:
        yield found.start()
    finally:
        found.stop()


@pytest.fixture(scope="module")
def made_tables(postgres):
    """A database with MLflow's tables, to make others from: making them takes longer than the tests that ask for it."""
    if not postgres.has("drill"):
        move._make_tables(Database("mlflow", postgres.create("drill")))
    return "drill"


@pytest.fixture
def quickly(postgres, made_tables, monkeypatch):
    """MLflow's tables are copied from the database that has them, where the target has none; the source has them."""

    def make(database: Database) -> None:
        name = database.url.rpartition("/")[2]
        if database.kind == "postgres" and not postgres.rows(name, "SELECT 1 FROM pg_tables WHERE tablename = 'runs'"):
            postgres.copy_tables(made_tables, name)

    monkeypatch.setattr(move, "_make_tables", make)


def asked(project: Project, monkeypatch) -> list:
    """What the commands say of a project."""
    monkeypatch.setenv("TUNEGATE_ROOT", str(project.root))
    return [json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).stdout) for words in ASKED]


def test_the_drill(lived, settings, registry, postgres, tmp_path, monkeypatch):
    """Move, ask, back up from Postgres, lose it all, restore into an empty project: the same at each step."""
    model, before = settings.register_.model_name, (asked(lived, monkeypatch), read_history(registry))
    url, files = postgres.create("drill"), tmp_path / "store"
    options = ["--artifacts-to", str(files), "--artifacts-uri", files.as_uri()]
    monkeypatch.setenv("TUNEGATE_MOVE_MLFLOW_TO", url)
    moved = CliRunner().invoke(cli, ["state", "move", *options, "--json"], catch_exceptions=False)
    rows = json.loads(moved.stdout)["mlflow"]["rows"]
    assert rows["model_versions"] == 3
    assert PASSWORD not in moved.output
    # The sqlite store and its files are gone: nothing is read from them any more.
    shutil.move(lived.state / "mlflow-artifacts", tmp_path / "gone")
    shutil.move(lived.state / "mlflow.db", tmp_path / "gone.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    there = Registry(lived, model)
    assert (asked(lived, monkeypatch), read_history(there)) == before
    assert there.weights(there.version("2")).is_relative_to(files)
    # New numbers follow the highest.
    assert int(there.client.create_experiment("after")) > max(
        int(one.experiment_id) for one in there.client.search_experiments() if one.name != "after"
    )

    write_backup(lived, model, tmp_path / "backup", secrets=True)
    fresh, again = clone(tmp_path / "fresh"), postgres.create("again")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", again)
    restore_backup(fresh, model, tmp_path / "backup")
    assert (asked(fresh, monkeypatch), read_history(Registry(fresh, model))) == before
    with pytest.raises(ConfigError, match=r"something already.*again"):
        restore_backup(clone(tmp_path / "other"), model, tmp_path / "backup")
    restore_backup(fresh, model, tmp_path / "backup", force=True)
    assert asked(fresh, monkeypatch) == before[0]


def plant(project: Project, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(project.state / "mlflow.db")) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize(
    ("statement", "values", "said"),
    [
        ("UPDATE runs SET artifact_uri = ?", ["file:///" + "长" * 200], "table runs does not fit"),
        ("INSERT INTO tags (key, value, run_uuid) VALUES ('k', 'v', ?)", ["nobody"], "(?s)table tags.*nobody"),
        ("UPDATE runs SET name = ?", ["a\0b"], "table runs does not fit"),
    ],
    ids=["longer than its column", "of a run that is not there", "a zero byte"],
)
def test_a_row_that_does_not_fit_moves_nothing_and_is_named(
    lived, settings, postgres, quickly, statement, values, said, request
):
    name = f"fault{abs(hash(request.node.name)) % 10**6}"
    url, model = postgres.create(name), settings.register_.model_name
    shutil.copyfile(lived.state / "mlflow.db", lived.state / "whole.db")
    plant(lived, statement, *values)
    with pytest.raises(DataContractError, match=said):
        move_mlflow(lived, model, url, Artifacts(), clients=url)
    assert postgres.rows(name, "SELECT count(*) FROM model_versions") == [("0",)]
    # What was begun may be begun again, once the row is mended.
    shutil.copyfile(lived.state / "whole.db", lived.state / "mlflow.db")
    assert move_mlflow(lived, model, url, Artifacts(), clients=url)["rows"]["model_versions"] == 3
    with pytest.raises(ConfigError, match="has tables already"):
        move_mlflow(lived, model, url, Artifacts(), clients=url)


def test_what_arrives_changed_is_seen(lived, settings, postgres, quickly):
    """A trigger of the target that rewrites rows, as replication or a curious administrator would."""
    url = postgres.create("changed")
    move._begin(Database("mlflow", url))
    move._make_tables(Database("mlflow", url))
    postgres.rows("changed", "CREATE FUNCTION f() RETURNS trigger AS $$ BEGIN NEW.value = 'milk'; RETURN NEW; END $$ "
                  "LANGUAGE plpgsql; CREATE TRIGGER t BEFORE INSERT ON model_version_tags FOR EACH ROW "
                  "EXECUTE FUNCTION f()")  # fmt: skip
    with pytest.raises(DataContractError, match=r"table model_version_tags.*not the same"):
        move_mlflow(lived, settings.register_.model_name, url, Artifacts(), clients=url)


def test_no_password_is_told_and_a_server_that_is_away_is_transient(lived, settings, tmp_path, postgres, monkeypatch):
    url = postgres.create("away").replace(str(postgres.port), str(unused_ports(1)[0]))
    with pytest.raises(TransientError) as caught:
        move_mlflow(lived, settings.register_.model_name, url, Artifacts(), clients=url)
    assert PASSWORD not in str(caught.value)
    assert "word%20of" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", url)
    with pytest.raises(TransientError, match="pg_dump") as caught:
        write_backup(lived, settings.register_.model_name, tmp_path / "backup")
    assert "word%20of" not in str(caught.value)
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("secrets", [True, False])
def test_the_key_of_prefects_secret_blocks_is_in_no_dump_unasked(
    lived, settings, postgres, tmp_path, monkeypatch, secrets
):
    made, back = f"keys{secrets}".lower(), f"back{secrets}".lower()
    urls = {name: postgres.create(name, "postgresql+asyncpg") for name in (made, back)}
    postgres.rows(made, "CREATE TABLE configuration (key text, value text); CREATE TABLE flow (name text)")
    postgres.rows(made, "INSERT INTO configuration VALUES ('ENCRYPTION_KEY', 'x'); INSERT INTO flow VALUES ('演习')")
    model, rest = settings.register_.model_name, ["state", "mlflow", "artifacts", "kept"]
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", urls[made])
    write_backup(lived, model, tmp_path / "backup", without=rest, secrets=secrets)
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", urls[back])
    restore_backup(clone(tmp_path / "fresh"), model, tmp_path / "backup")
    assert postgres.rows(back, "SELECT count(*) FROM configuration") == [("1" if secrets else "0",)]
    assert postgres.rows(back, "SELECT name FROM flow") == [("演习",)]


FLOW = """
import asyncio
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.variables import Variable
@task
def count(): return 1
@flow(name="演习", log_prints=True)
def drill():
    print("隐蔽")
    return count()
drill()
Variable.set("site", {"名称": "一号机组"})
"""
SAID = """
import asyncio, json
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter
async def main():
    async with get_client() as client:
        runs = await client.read_flow_runs()
        logs = await client.read_logs(LogFilter())
        return {
            "runs": sorted([str(run.id), run.name, run.state.name, str(run.total_run_time), str(run.start_time)]
                           for run in runs),
            "states": [[str(state.id), state.name] for state in await client.read_flow_run_states(runs[0].id)],
            "logs": sorted([str(log.timestamp), log.message] for log in logs),
            "variables": [(one.name, one.value) for one in await client.read_variables()],
        }
print(json.dumps(asyncio.run(main()), ensure_ascii=False, default=str))
"""


def prefect(script: str, home: Path, database: str = "") -> str:
    """Run a script with a server of its own on a database, Prefect's own sqlite file where none is named."""
    environment = {**os.environ, **TELEMETRY_OFF, "PREFECT_HOME": str(home),
                   "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}  # fmt: skip
    environment |= {"PREFECT_API_DATABASE_CONNECTION_URL": database} if database else {}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=240,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1] if done.stdout else ""


def test_prefect_says_the_same_from_postgres(postgres, tmp_path, monkeypatch):
    for name in ("PREFECT_API_URL", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    project = clone(tmp_path / "project")
    home = project.state / "prefect"
    home.mkdir(parents=True)
    prefect(FLOW, home)
    before = json.loads(prefect(SAID, home))
    url = postgres.create("prefect", "postgresql+asyncpg")
    assert move.move_prefect(project, url)["rows"]["flow_run"] == 1
    shutil.move(home / "prefect.db", project.root / "gone.db")
    assert json.loads(prefect(SAID, home, url)) == before
    assert [run[2] for run in before["runs"]] == ["Completed"]
    assert any("隐蔽" in log[1] for log in before["logs"])
    assert before["variables"] == [["site", {"名称": "一号机组"}]]
