"""smtrain: a declarative, plugin-based configuration compiler for fine-tuning language models."""
