"""Model servers that somebody else runs, behind a URL: KServe, the production-stack, a vLLM on another machine."""
