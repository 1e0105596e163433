"""The config groups of this plugin; a package, so that `pkg://smtrain_ngram.conf` finds them."""
