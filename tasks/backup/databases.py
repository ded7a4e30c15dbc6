"""Which databases the records are in: MLflow's and Prefect's, in sqlite files here or on a Postgres server."""

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from tasks.core.errors import ConfigError
from tasks.core.project import Project

Name = Literal["mlflow", "prefect"]
NAMES: tuple[Name, ...] = ("mlflow", "prefect")
#: Where each server's own setting says which database it has.
SETTINGS: dict[Name, tuple[str, ...]] = {
    "mlflow": ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_TRACKING_URI"),
    "prefect": ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL"),
}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Database:
    """One database.

    Args:
        name: whose it is.
        url: SQLAlchemy's address of it.
    """

    name: Name
    url: str

    @property
    def kind(self) -> Literal["sqlite", "postgres"]:
        """Which of the two it is.

        Raises:
            ConfigError: it is neither.
        """
        scheme = self.url.partition(":")[0].partition("+")[0]
        if scheme in ("postgresql", "postgres"):
            return "postgres"
        if scheme == "sqlite":
            return "sqlite"
        raise ConfigError(
            f"{self.name}: a database of kind {scheme!r} is not known here", "sqlite:/// or postgresql://"
        )

    @property
    def path(self) -> Path:
        """File of a sqlite database."""
        return Path(str(self._parsed.database))

    @property
    def there(self) -> bool:
        """Whether there is something to keep; a server is asked when it is copied."""
        return self.kind == "postgres" or self.path.is_file()

    @property
    def shown(self) -> str:
        """The address without its password."""
        return str(self._parsed.render_as_string(hide_password=True))

    def for_program(self, driver: str = "postgresql") -> tuple[str, dict[str, str]]:
        """Return the address for a program's arguments, and the password for its environment: arguments are public."""
        parsed = self._parsed
        password = {"PGPASSWORD": str(parsed.password)} if parsed.password else {}
        # Not `set`: to it, None is no change.
        bare = parsed._replace(drivername=driver, password=None)
        return bare.render_as_string(hide_password=False), password

    @property
    def _parsed(self) -> Any:
        """The address in its parts."""
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            return make_url(self.url.replace("postgres://", "postgresql://", 1))
        except (ArgumentError, ValueError) as error:
            # Not the address: it may hold a password.
            raise ConfigError(f"the address of {self.name}'s database cannot be read",
                              "postgresql://USER@HOST:5432/NAME") from error  # fmt: skip


def find_database(project: Project, name: Name) -> Database:
    """Return where MLflow's or Prefect's records are.

    Raises:
        ConfigError: they are behind a server whose database nobody named.
    """
    given = next((value for setting in SETTINGS[name] if (value := os.environ.get(setting))), None)
    if given and given.startswith(("http:", "https:")):
        raise _elsewhere(name, given)
    if given:
        return Database(name, given)
    if name == "mlflow":
        return Database(name, project.mlflow_uri)
    server = os.environ.get("PREFECT_API_URL")
    if server and urlsplit(server).hostname not in LOOPBACK:
        raise _elsewhere(name, server)
    home = Path(os.environ.get("PREFECT_HOME") or project.state / "prefect")
    return Database(name, f"sqlite+aiosqlite:///{home / 'prefect.db'}")


def package_version(name: Name) -> str:
    """Return which version of MLflow or Prefect is installed: a database has its schema."""
    return metadata.version(name)


def _elsewhere(name: Name, server: str) -> ConfigError:
    """Return the error for records behind a server."""
    return ConfigError(
        f"the records of {name} are in a database behind {urlsplit(server).hostname}, and nothing says in which",
        f"export {SETTINGS[name][0]}=postgresql://..., as that server has it; or --without {name}",
    )
