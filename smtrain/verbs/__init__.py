"""The verbs of the command line, one module each; `smtrain.cli` imports the one that is called."""
