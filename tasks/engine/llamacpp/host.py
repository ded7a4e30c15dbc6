"""Run by the interpreter of .venv-llamacpp: llama.cpp's HTTP server over one GGUF file, until it is ended.

Imports nothing of the pipeline: the other interpreter has none of it.
"""

import json
import sys
import threading


def main(settings: str) -> None:
    """Serve until a signal.

    Args:
        settings: JSON object {"file", "host", "port", "name", "context_tokens", "parallel", "threads"}.
    """
    import xllamacpp

    given = json.loads(settings)
    params = xllamacpp.CommonParams()
    params.model.path = given["file"]
    params.hostnames = [given["host"]]
    params.port = given["port"]
    params.model_alias = {given["name"]}
    params.n_ctx = given["context_tokens"]
    params.n_parallel = given["parallel"]
    # One pool of context for all: each request may use the whole of it, as with vLLM.
    params.kv_unified = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given["threads"]
    params.endpoint_metrics = True
    params.ui = False
    server = xllamacpp.Server(params)
    sys.stdout.write(f"serving at {server.listening_address}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
