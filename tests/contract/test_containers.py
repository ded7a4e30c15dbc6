"""Container files, read and not built: pins, accounts, what they copy, and what they must not."""

import fnmatch
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONTAINERS, KUBERNETES = ROOT / "infra" / "containers", ROOT / "infra" / "kubernetes" / "base"
COMPOSE = yaml.safe_load((CONTAINERS / "compose.yaml").read_text("utf-8"))
FILES = sorted(CONTAINERS.glob("Containerfile*"))
PINNED = re.compile(r"^[\w./-]+:v?\d[\w.-]*$")
SECRET = re.compile(r"(PASSWORD|SECRET|AUTH|KEY)", re.IGNORECASE)
#: Names that sound like one: paths of files, a switch, and where a secret is.
NO_SECRET = re.compile(r"_(KEYS_FILE|AUTH_CONFIG_PATH|AUTH_FAIL_CLOSED|AUTH_STRING_SECRET_(NAME|KEY))$")


def test_servers_in_containers_are_the_locked_ones():
    lock = (ROOT / "infra" / "environments" / "pipeline.lock").read_text("utf-8")
    versions = dict(re.findall(r"^([\w-]+)==(\S+)", lock, re.MULTILINE))
    mlflow = (CONTAINERS / "Containerfile.mlflow").read_text("utf-8")
    assert COMPOSE["services"]["prefect"]["image"].endswith(f"/prefect:{versions['prefect']}-python3.11")
    assert f"mlflow:v{versions['mlflow']}\n" in mlflow
    assert f"psycopg2-binary=={versions['psycopg2-binary']} " in mlflow
    jobs = (ROOT / "infra" / "kubernetes" / "work-pool" / "worker.yaml").read_text("utf-8")
    assert f"prefect:{versions['prefect']}-python3.11-kubernetes\n" in jobs


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_images_start_from_a_pin_and_end_as_nobody(path):
    text = path.read_text("utf-8")
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", text, re.MULTILINE)
    made = {name for _, name in stages if name}
    assert [base for base, _ in stages if base not in made and not PINNED.match(base)] == []
    # A stage goes on as the one it starts from: nobody becomes root again.
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001"]
    assert not re.search(r"(ADD https?:|curl .*\| *sh|--trusted-host)", text)


def copied(path: Path) -> list[str]:
    """Return what a container file takes from the checkout."""
    found = re.findall(r"^COPY (?:--\S+ )*(.*) \S+$", path.read_text("utf-8"), re.MULTILINE)
    return [name for names in found for name in names.split()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_images_copy_exists(path):
    assert [name for name in copied(path) if not (ROOT / name).exists()] == []


def ignored(name: str) -> bool:
    """Return whether .dockerignore keeps a path out of every image: the last line that fits decides."""
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    found = False
    for line in lines:
        pattern = line.removeprefix("!")
        names = [name, *(str(parent) for parent in Path(name).parents if str(parent) != ".")]
        bare = pattern.removeprefix("**/")
        if any(fnmatch.fnmatch(one, pattern) or ("**/" in pattern and fnmatch.fnmatch(Path(one).name, bare))
               for one in names):  # fmt: skip
            found = line[0] != "!"
    return found


def test_no_password_key_or_state_of_this_checkout_gets_into_an_image():
    """`COPY infra` would take infra/containers/.env along."""
    for name in ("infra/containers/.env", ".tunegate/signing/host.pem", "infra/release.pem", "data/models/awq/x",
                 ".git/config", ".dvc/config.local", "infra/environments/serve.installed"):  # fmt: skip
        assert ignored(name), name
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    taken = {name for path in FILES for name in copied(path)}
    files = [name for name in listed.splitlines() if any(f"{name}/".startswith(f"{one}/") for one in taken)]
    assert len(files) > 100
    assert [name for name in files if ignored(name)] == []


def test_the_page_says_what_was_not_run():
    text = (ROOT / "infra" / "README.md").read_text("utf-8")
    assert "never built or\nstarted" in text
    assert len(text.splitlines()) < 120
