"""JSON Schemas of the sections, generated from the typed classes: `make schemas`."""
