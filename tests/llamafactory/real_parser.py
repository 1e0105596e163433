"""LLaMA-Factory's verdict on many configurations: JSON list of {args, training} in, JSON list of messages or nulls out."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        verdicts = [verdict(case["args"], training=case["training"]) for case in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(verdicts))
    sys.stdout.flush()
    # A process group and DeepSpeed's atexit hooks have nothing to tidy up here.
    os._exit(0)


def verdict(args: dict[str, object], *, training: bool) -> str | None:
    from llamafactory.hparams import get_infer_args, get_train_args

    gc.collect()  # transformers knows of ZeRO-3 by a weak reference to the last arguments
    try:
        (get_train_args if training else get_infer_args)(dict(args))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    main()
