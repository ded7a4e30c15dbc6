"""The stage table and its runner: the only room that knows every stage."""
