"""One hop asked: the stage `evaluate`, what it asks in one piece of code for all hops, and what it writes."""
