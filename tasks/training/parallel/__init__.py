"""Several processes that train one model: how they are started and ended, what each holds, what they write together."""
