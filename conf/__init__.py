"""The built-in config groups, one folder each; Hydra reads them from `pkg://smtrain_conf`."""
