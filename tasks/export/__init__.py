"""A finished model in the files that other engines read: GGUF, an Ollama Modelfile, plain safetensors."""
