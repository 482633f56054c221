"""The Evaluate dock: a report on a model, made by a process of its own."""
