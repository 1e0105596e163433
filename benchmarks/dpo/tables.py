"""What the rounds came to."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from job import Facts
from measured import Measured

MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Ours and a rival, one right after the other."""

    ours: Measured
    theirs: Measured


def training(found: Measured, facts: Facts) -> float:
    """Returns non-padding tokens per second of training alone."""
    return facts.tokens / found.training_s


def everything(found: Measured, facts: Facts) -> float:
    """Returns non-padding tokens per second, the reference pass included; the tokens count once."""
    return facts.tokens / (found.training_s + (found.reference_s or 0.0))


def cores(found: Measured) -> float:
    """Returns how many cores it had on average; fewer than its threads where others were busy, too."""
    return found.cpu_s / (found.training_s + (found.reference_s or 0.0))


def best(pairs: dict[str, list[Pair]], facts: Facts) -> str:
    """Returns the rival's setting that is fastest, the reference pass included."""
    return max(pairs, key=lambda name: statistics.median(everything(pair.theirs, facts) for pair in pairs[name]))


def show(pairs: dict[str, list[Pair]], facts: Facts) -> None:
    """Prints everything; each rival's best setting first."""
    _facts(facts)
    ours = [pair.ours for each in pairs.values() for pair in each]
    rivals = dict.fromkeys(name.partition(":")[0] for name in pairs)
    ordered = []
    for rival in rivals:
        own = {name: each for name, each in pairs.items() if name.partition(":")[0] == rival}
        first = best(own, facts)
        ordered += [first, *(name for name in own if name != first)]
        _against(f"{rival} at its best ({first})", own[first], facts)
    _head(
        "", "training, tokens/s", "with reference, tokens/s", "fill", "peak, MB", "above state, MB", "and libraries, MB"
    )
    _row("ours", ours, facts)
    for name in ordered:
        _row(name, [pair.theirs for pair in pairs[name]], facts)
    _head(
        "ours against", "training", "with reference", "per core-second", "memory above state", "and libraries",
        "loss differs by",
    )  # fmt: skip
    for name in ordered:
        _ratios(name, pairs[name], facts)
    print()
    for version in dict.fromkeys(each.versions for each in (ours[0], *(found[0].theirs for found in pairs.values()))):
        print(f"  {version}")


def _head(*cells: str) -> None:
    print(f"\n| {' | '.join(cells)} |\n{'|---' * len(cells)}|")


def _facts(facts: Facts) -> None:
    mean, tenth, longest = facts.sequences
    print(
        f"\n{facts.tokens:,} tokens in sequences of mean {mean:.0f}, p90 {tenth:.0f}, max {longest}, "
        f"{facts.prompt_tokens / facts.tokens:.0%} of them prompt; {facts.parameters / 1e6:.2f} M parameters, "
        f"{facts.trained / 1e6:.2f} M trained, state {facts.state_bytes / MB:,.0f} MB; "
        f"our budget is {facts.budget} tokens, {facts.budget_fill:.0%} used"
    )


def _against(title: str, pairs: Sequence[Pair], facts: Facts) -> None:
    rate = statistics.median(everything(pair.ours, facts) / everything(pair.theirs, facts) for pair in pairs)
    memory = statistics.median(_above(pair.ours, facts) / _above(pair.theirs, facts) for pair in pairs)
    print(f"ours / {title}: {rate:.2f} × the tokens/s, {memory:.2f} × the memory above the model's state")


def _row(name: str, found: Sequence[Measured], facts: Facts) -> None:
    alone = _spread([training(each, facts) for each in found if each.reference_s is not None], "{:,.0f}")
    filled = facts.tokens / found[0].computed if name != "ours" else 1.0
    cells = (
        name, alone, _spread([everything(each, facts) for each in found], "{:,.0f}"), f"{filled:.1%}",
        _spread([each.peak / MB for each in found], "{:,.0f}"),
        _spread([_above(each, facts) / MB for each in found], "{:,.0f}"),
        _spread([_beyond(each, facts) / MB for each in found], "{:,.0f}"),
    )  # fmt: skip
    print(f"| {' | '.join(cells)} |")


def _ratios(name: str, pairs: Sequence[Pair], facts: Facts) -> None:
    def ratio(figure: Callable[[Measured, Facts], float]) -> str:
        return _spread([figure(pair.ours, facts) / figure(pair.theirs, facts) for pair in pairs], "{:.2f}")

    alone = ratio(training) if pairs[0].theirs.reference_s is not None else "—"
    figures = (everything, _of_a_core, _above, _beyond)
    cells = (name, alone, *map(ratio, figures), f"{difference(pairs):.1e}")
    print(f"| {' | '.join(cells)} |")


def difference(pairs: Sequence[Pair]) -> float:
    """Returns the largest difference of a step's loss."""
    return max(
        abs(ours - theirs) for pair in pairs for ours, theirs in zip(pair.ours.losses, pair.theirs.losses, strict=True)
    )


def _of_a_core(found: Measured, facts: Facts) -> float:
    return facts.tokens / found.cpu_s


def _above(found: Measured, facts: Facts) -> float:
    return found.peak - facts.state_bytes


def _beyond(found: Measured, facts: Facts) -> float:
    return _above(found, facts) - found.libraries


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return "—"
    middle = form.format(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} [{form.format(min(values))} to {form.format(max(values))}]"
