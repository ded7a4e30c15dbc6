"""What tests of the embedding model need: settings that name one, and whether it is up."""

from pathlib import Path

import httpx
import yaml

from tasks.core.project import Project


def configure(root: Path, model: Path) -> None:
    """Write settings with an embedding model `bge`, before the host is started."""
    path = root / "params.yaml"
    params = yaml.safe_load(path.read_text("utf-8"))
    params["serve"]["embedding"] |= {"model": str(model), "name": "bge", "max_length_tokens": 512}
    params["serve"]["gateway"]["max_embedding_inputs"] = 4
    path.write_text(yaml.safe_dump(params, allow_unicode=True), "utf-8")


def up(project: Project) -> bool:
    """Return whether the gateway shows that the embedding model answers."""
    return 'tunegate_embedding_works{name="bge"} 1.0' in httpx.get(f"{project.gateway_url}/metrics").text
