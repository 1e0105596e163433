"""LLaMA-Factory for smtrain: its trainers, its argument schema, and an importer of its YAML files."""
