"""Backups of a project on sqlite: what is in them, what is not, and that they come back as they were."""

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from click.testing import CliRunner

from tasks.backup.backup import write_backup
from tasks.backup.databases import Database
from tasks.backup.manifest import MANIFEST, read_backup
from tasks.backup.restore import restore_backup
from tasks.backup.sqlite import copy_sqlite
from tasks.cli.main import cli
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, write_json
from tasks.release.history import place_of, read_history
from tasks.release.register import exclusively_registering
from tasks.release.registry import Registry
from tasks.release.status import serving_status
from tasks.serving.audit import verify
from tasks.serving.audit.secret import audit_secret
from tasks.serving.host_lock import HostLock
from tests.unit.backup.conftest import DAY, clone


@pytest.fixture
def backed_up(lived, settings, tmp_path):
    """The folder of a backup, with the keys that sign."""
    write_backup(lived, settings.register_.model_name, tmp_path / "backup", secrets=True)
    return tmp_path / "backup"


@pytest.fixture
def bring_back(settings, tmp_path, backed_up):
    """Restore it into a fresh clone, or into one that is given."""

    def restore(target=None, **options):
        target = target or clone(tmp_path / "fresh")
        return target, restore_backup(target, settings.register_.model_name, backed_up, **options)

    return restore


def test_an_empty_clone_becomes_the_project_it_was(lived, settings, registry, bring_back):
    before = serving_status(lived, settings), read_history(registry), verify(lived.state / "audit")
    target, found = bring_back()
    # What was seen of the history is known of the store where it is now: an entry cut off in between would be missed.
    seen, model = read_json(target.state / "serving" / "history_seen.json"), settings.register_.model_name
    assert seen[place_of(target.mlflow_uri, model)] == seen[place_of(lived.mlflow_uri, model)]
    again = Registry(target, model)
    assert (serving_status(target, settings), read_history(again), verify(target.state / "audit")) == before
    assert found["set_aside"] is None
    assert found["notes"] == []
    # Files are found where they are now, and are what was registered.
    shutil.rmtree(lived.state)
    assert again.weights(again.version("2")).is_relative_to(target.state)
    assert again.version("2").tags["tunegate.note"].startswith("核应急")


#: Folders of the local state -> a record in it, what is made again in it.
STATE = {
    "": ("sweep-looks.jsonl", "prefect.log"),
    "sweeps/a": ("plan.yaml", "trials/1/params.yaml"),
    "worktrees": (None, "abc-1/params.yaml"),
    "dvc-remote": (None, "files/md5/ab/cd"),
    "serving": ("budgets.json", "models/weights.safetensors"),
}


def test_what_is_made_again_is_left_out_and_nobody_else_can_read_the_rest(lived, settings, tmp_path):
    for folder, names in STATE.items():
        for name in filter(None, names):
            (lived.state / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (lived.state / folder / name).write_text("{}", "utf-8")
    backed_up = tmp_path / "backup"
    files = set(write_backup(lived, settings.register_.model_name, backed_up)["files"])
    assert {"state/keys.json", f"state/audit/{DAY}", "mlflow.db"} <= files
    for folder, (record, again) in STATE.items():
        assert record is None or f"state/{folder}/{record}".replace("//", "/") in files
        assert f"state/{folder}/{again}".replace("//", "/") not in files
    for path in [backed_up, *backed_up.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_without_being_asked_no_key_is_in_it(lived, settings, tmp_path):
    """Whatever it is called: a key that a later release keeps elsewhere, too."""
    later = lived.state / "serving" / "later-release"
    later.write_bytes((lived.state / "signing" / "host.pem").read_bytes())
    value = write_backup(lived, settings.register_.model_name, tmp_path / "backup")
    words = [audit_secret(lived).hex().encode(), later.read_bytes().splitlines()[1]]
    held = [path for path in (tmp_path / "backup").rglob("*") if path.is_file() for word in words
            if word in path.read_bytes()]  # fmt: skip
    assert held == []
    assert value["parts"]["state"]["kept_back"] == [
        "audit.key", "serving/later-release", "signing/host.pem", "signing/release.pem",
    ]  # fmt: skip
    # Who restores it is told which key is missing.
    found = restore_backup(clone(tmp_path / "fresh"), settings.register_.model_name, tmp_path / "backup")
    assert [note.split(" key ")[0] for note in found["notes"]] == ["the release", "the host"]
    assert value["public_keys"]["host"] in found["notes"][1]


def change(folder):
    path = folder / "state" / "audit" / DAY
    path.write_text(path.read_text("utf-8").replace("碘片", "牛奶"), "utf-8")


def remove(folder):
    (folder / "state" / "keys.json").unlink()


def put_in(folder):
    (folder / "state" / "approval.json").write_text("{}")


def link(folder):
    """What it leads to has the right bytes, now."""
    (folder / "state" / "serving").rename(folder.parent / "elsewhere")
    (folder / "state" / "serving").symlink_to(folder.parent / "elsewhere")


def lead_out(folder):
    value = read_json(folder / MANIFEST)
    value["files"]["../outside"] = value["files"]["state/keys.json"]
    shutil.copyfile(folder / "state" / "keys.json", folder.parent / "outside")
    write_json(folder / MANIFEST, value)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (change, f"{DAY} was changed"),
        (remove, "keys.json is gone"),
        (put_in, "put in"),
        (link, "serving is a link"),
        (lead_out, "leads out"),
    ],
)
def test_a_backup_that_is_not_as_it_was_written_touches_nothing(bring_back, backed_up, tmp_path, fault, said):
    fault(backed_up)
    with pytest.raises(DataContractError, match=said):
        bring_back()
    assert not (tmp_path / "fresh" / ".tunegate").exists()


def test_a_backup_that_was_not_finished_is_none(bring_back, backed_up):
    (backed_up / MANIFEST).unlink()
    with pytest.raises(ConfigError, match="no whole backup"):
        bring_back()


def test_nothing_is_written_over_unasked_and_what_was_there_is_set_aside(lived, backed_up, bring_back, settings):
    with pytest.raises(ConfigError, match="something already"):
        bring_back(lived)
    # A day of the log that the backup has not must not stand behind its end.
    (lived.state / "audit" / "2026-12-01.jsonl").write_text("later\n")
    _, found = bring_back(lived, force=True)
    aside = lived.root / found["set_aside"]
    assert (aside / "audit" / "2026-12-01.jsonl").read_text() == "later\n"
    assert (aside / "mlflow.db").is_file()
    assert verify(lived.state / "audit")["problems"] == []
    assert serving_status(lived, settings)["champion"]["version"] == "2"
    # The next backup does not carry it along.
    value = write_backup(lived, settings.register_.model_name, backed_up.with_name("next"))
    assert not [name for name in value["files"] if "before-restore" in name]


def test_a_restore_that_broke_off_is_made_again_and_nothing_is_lost(lived, bring_back, settings, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tasks.backup.restore.relocate", full)
        with pytest.raises(OSError, match="no space"):
            bring_back(lived, force=True)
    _, found = bring_back(lived, force=True)
    assert found["set_aside"]
    assert len(list(lived.state.glob("before-restore-*"))) >= 1
    registry = Registry(lived, settings.register_.model_name)
    assert registry.weights(registry.version("2"))
    assert verify(lived.state / "audit") == {"files": 1, "records": 3, "head": 3, "problems": []}


def test_a_project_that_is_served_or_whose_database_is_open_is_left_alone(lived, bring_back):
    with HostLock(lived), pytest.raises(ConfigError, match="served already"):
        bring_back(lived, force=True)
    script = f"import sqlite3, time; c = sqlite3.connect({str(lived.state / 'mlflow.db')!r}); "
    script += "c.execute('select * from runs').fetchall(); print('open', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as server:
        assert server.stdout.readline() == b"open\n"
        with pytest.raises(ConfigError, match=f"process {server.pid}"):
            bring_back(lived, force=True)
        server.kill()
    assert (lived.state / "mlflow.db").is_file()


def test_a_database_that_is_written_meanwhile_is_copied_as_of_one_moment(tmp_path):
    source, stop = tmp_path / "busy.db", threading.Event()
    with closing(sqlite3.connect(source)) as first:
        first.execute("PRAGMA journal_mode=WAL")
        first.executescript("CREATE TABLE a (x); CREATE TABLE b (x)")

    def write() -> None:
        with closing(sqlite3.connect(source)) as connection:
            while not stop.is_set():
                with connection:
                    connection.execute("INSERT INTO a VALUES (1)")
                    connection.execute("INSERT INTO b VALUES (1)")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            copy_sqlite(source, tmp_path / f"{number}.db")
    finally:
        stop.set()
        writer.join()
    for number in range(5):
        assert not (tmp_path / f"{number}.db-wal").exists()
        with closing(sqlite3.connect(tmp_path / f"{number}.db")) as copy:
            counts = [copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in "ab"]
        assert counts[0] == counts[1]


def test_a_backup_waits_for_what_registers_or_promotes(lived, settings, tmp_path):
    backup = threading.Thread(target=write_backup, args=(lived, settings.register_.model_name, tmp_path / "backup"))
    with exclusively_registering(lived):
        backup.start()
        backup.join(0.3)
        assert backup.is_alive()
    backup.join(30)
    assert read_backup(tmp_path / "backup")["files"]


def test_a_damaged_database_is_no_backup(lived, settings, tmp_path):
    path = lived.state / "mlflow.db"
    whole = bytearray(path.read_bytes())
    whole[8192:65536] = b"\xff" * (65536 - 8192)
    path.write_bytes(whole)
    with pytest.raises(DataContractError, match="damaged"):
        write_backup(lived, settings.register_.model_name, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_the_log_of_a_host_at_work_is_cut_at_its_last_whole_line(lived, settings, tmp_path):
    with (lived.state / "audit" / DAY).open("a") as stream:
        stream.write('{"kind": "ans')
    value = write_backup(lived, settings.register_.model_name, tmp_path / "backup")
    assert value["audit"] == {"records": 3, "problems": []}


def test_a_log_that_was_tampered_with_is_kept_and_told(lived, settings, tmp_path):
    change_log = lived.state / "audit" / DAY
    change_log.write_text(change_log.read_text("utf-8").replace("碘片", "牛奶"), "utf-8")
    value = write_backup(lived, settings.register_.model_name, tmp_path / "backup")
    assert value["audit"]["problems"]


def test_the_key_of_prefects_secret_blocks_is_kept_back(lived, settings, tmp_path):
    path, word = lived.state / "prefect" / "prefect.db", "fernet-" + "k" * 40
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE configuration (key, value)")
        made.executemany("INSERT INTO configuration VALUES (?, ?)", [("ENCRYPTION_KEY", word), ("other", "stays")])
    held = {}
    for secrets in (True, False):
        folder = tmp_path / f"backup-{secrets}"
        write_backup(lived, settings.register_.model_name, folder, secrets=secrets)
        held[secrets] = (folder / "prefect.db").read_bytes()
    assert word.encode() in held[True]
    assert word.encode() not in held[False]
    assert b"stays" in held[False]


def test_records_behind_a_server_are_not_taken_for_absent(lived, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    with pytest.raises(ConfigError, match=r"behind mlflow\.example\.org"):
        write_backup(lived, settings.register_.model_name, tmp_path / "backup")
    value = write_backup(lived, settings.register_.model_name, tmp_path / "backup", without=["mlflow"])
    assert "mlflow" not in value["parts"]
    assert read_backup(tmp_path / "backup")["parts"] == value["parts"]


def test_a_password_is_in_no_programs_arguments_and_in_no_message():
    database = Database("mlflow", "postgres://u:w%2Ford@h:5432/n")
    for driver in ("postgresql", "postgresql+asyncpg"):
        assert database.for_program(driver) == (f"{driver}://u@h:5432/n", {"PGPASSWORD": "w/ord"})
    assert "ord" not in database.shown
    with pytest.raises(ConfigError) as caught:
        Database("mlflow", "postgresql://u:word@h:port/n").for_program()
    assert "word" not in str(caught.value)


def test_the_commands_say_what_is_in_it_and_what_is_not(lived, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEGATE_ROOT", str(lived.root))
    folder = str(tmp_path / "backup")
    said = CliRunner().invoke(cli, ["state", "backup", "--to", folder], catch_exceptions=False).output
    assert "not in it: audit.key" in said
    assert "SECRETS" not in said
    assert "whole" in CliRunner().invoke(cli, ["state", "verify", folder], catch_exceptions=False).output
    monkeypatch.setenv("TUNEGATE_ROOT", str(clone(tmp_path / "fresh").root))
    said = CliRunner().invoke(cli, ["state", "restore", folder], catch_exceptions=False).output
    assert "restored: state, mlflow, artifacts" in said
    assert "note: the host key is another one here" in said
