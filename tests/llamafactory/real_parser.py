"""LLaMA-Factory's verdict on many configurations: a list of {args, training} in, a list of messages or nulls out."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        import llamafactory.hparams  # noqa: F401

        gc.freeze()  # what the imports made is not to be looked through again at each case
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
    except Exception as error:  # noqa: BLE001  # whatever it raises is its verdict
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    main()
