"""The passes, one module each, in the order of `smtrain.pipeline`."""
