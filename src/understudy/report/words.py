"""The report's sentences: what was learned from what, how good it is, and what the numbers mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from markupsafe import Markup

from understudy.evaluate import Difference, Report, compare
from understudy.numerics import Estimate
from understudy.report.facts import get, number_in, text_in
from understudy.report.folder import Run
from understudy.report.svg import number, percent

__all__ = ["amount", "between", "duration", "headline", "paired", "plain", "rate", "seeds_text", "verdict"]

_ALGORITHMS = {
    "airl": "AIRL",
    "awac": "AWAC",
    "bc": "behavioural cloning",
    "bc-rl": "cloning and then reinforcement learning",
    "csil": "coherent soft imitation",
    "dac": "discriminator-actor-critic",
    "dagger": "DAgger",
    "ensemble-dagger": "EnsembleDAgger",
    "gail": "GAIL",
    "guided-cost": "guided cost learning",
    "hg-dagger": "HG-DAgger",
    "iq": "IQ-Learn",
    "lazy-dagger": "LazyDAgger",
    "lsiq": "LS-IQ",
    "maxent-irl": "maximum-entropy inverse reinforcement learning",
    "ppo": "PPO",
    "rac": "RaC",
    "residual": "residual reinforcement learning",
    "rlpd": "RLPD",
    "sac": "soft actor-critic",
    "safe-dagger": "SafeDAgger",
    "sirius": "Sirius",
    "sqil": "SQIL",
    "trpo": "TRPO",
    "thrifty-dagger": "ThriftyDAgger",
}
_ALPHA = 0.05


def plain(text: str) -> str:
    """A number's text with a true minus sign."""
    return text.replace("-", "−")


def rate(e: Estimate) -> str:
    """A share with its interval, in percent: 97 % [94, 99]."""
    low, high = (percent(x).removesuffix("\u202f%") for x in (e.low, e.high))
    return f"{percent(e.value)} [{low}, {high}]"


def points(e: Estimate) -> str:
    """A difference of two shares in percentage points, signed: +1.0 [−2.1, +4.1]."""
    value, low, high = (plain(f"{100 * x:+.1f}") for x in (e.value, e.low, e.high))
    return f"{value} [{low}, {high}]"


def amount(e: Estimate, unit: str = "") -> str:
    """A mean with its interval and unit, with no more digits than the interval bears."""
    text = plain(e.text()) if e.high > e.low else f"{number(e.value)} [{number(e.low)}, {number(e.high)}]"
    return f"{text} {unit}".rstrip()


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(0.42), duration(75.0), duration(7260.0)
    ('0.42 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{number(seconds, 2)} s"
    minutes = round(seconds) // 60
    return (
        f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    )


def seeds_text(seeds: Iterable[int]) -> str:
    """A list of seeds, as a range where it is one.

    >>> seeds_text([5, 6, 7, 8]), seeds_text([1, 9])
    ('5 to 8', '1, 9')
    """
    listed = list(seeds)
    if len(listed) > 2 and all(b - a == 1 for a, b in pairwise(listed)):
        return f"{listed[0]} to {listed[-1]}"
    shown = ", ".join(map(str, listed[:12]))
    return f"{shown} and {len(listed) - 12} more" if len(listed) > 12 else shown


def counted(n: float, one: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> counted(1, "episode"), counted(1200, "episode")
    ('1 episode', '1\\u202f200 episodes')
    """
    return f"{number(n)} {one if n == 1 else many or one + 's'}"


def algorithm(run: Run) -> str:
    """How the run learned, in words."""
    name = text_in(run.facts, "algorithm") or "an unnamed algorithm"
    return _ALGORITHMS.get(name.replace("_", "-"), name)


def _hits(report: Report) -> tuple[int, int]:
    said = [o.success for o in report.outcomes if o.success is not None]
    return sum(said), len(said)


def headline(runs: Sequence[Run]) -> Markup:
    """One sentence: what was learned from what, and how good it is."""
    return _of_one(runs[0]) if len(runs) == 1 else _of_many(runs)


def _of_one(run: Run) -> Markup:
    episodes = number_in(run.facts, "data.episodes")
    source = "demonstrations" if episodes is None else counted(episodes, "demonstration")
    if not episodes and get(run.facts, "online", dict) is not None:
        given = get(run.facts, "online.reward", str) is not None
        source = "a learned reward" if given else "the task’s own reward"
    if (labelled := number_in(run.facts, "interactive.labelled")) is not None:
        source = counted(labelled, "labelled state")
    of = Markup(" of {}").format(run.task) if run.task else ""
    name = algorithm(run)
    start = Markup("{} from {}{}").format(name[:1].upper() + name[1:], source, of)
    report = run.policy
    if report is None:
        return start + ": the policy has not been measured yet."
    if report.success_rate is None:
        score = Markup("<em>{}</em>").format(amount(report.mean_return))
        fresh = counted(len(report.outcomes), "fresh episode")
        return start + Markup(" reaches a mean return of {} over {}.").format(score, fresh)
    hits, said = _hits(report)
    score = Markup("<em>{} of {}</em>").format(number(hits), number(said))
    return start + Markup(" succeeds in {} fresh episodes: {}.").format(score, rate(report.success_rate))


def _of_many(runs: Sequence[Run]) -> Markup:
    tasks = sorted({r.task for r in runs if r.task})
    where = Markup(" on {}").format(tasks[0]) if len(tasks) == 1 else Markup("")
    measured = [(r, r.policy.success_rate) for r in runs if r.policy and r.policy.success_rate]
    if not measured:
        return Markup("{} runs{}, side by side.").format(len(runs), where)
    if len(measured) <= 3 and len(tasks) <= 1:
        first, *rest = (
            Markup("{} {} <em>{}</em>").format(r.name, "in" if i else "succeeds in", percent(e.value))
            for i, (r, e) in enumerate(measured)
        )
        return Markup(", ").join([first + Markup(" of fresh episodes{}").format(where), *rest]) + "."
    values = [e.value for _, e in measured]
    span = Markup("<em>{} to {}</em>").format(percent(min(values)), percent(max(values)))
    return Markup("{} policies{} succeed in {} of fresh episodes.").format(len(measured), where, span)


def between(runs: Sequence[Run]) -> str:
    """What the paired comparison of exactly two measured runs says; "" for more, which have a table."""
    measured = [(r.name, r.policy) for r in runs if r.policy is not None]
    if len(measured) != 2:
        return ""
    (a, x), (b, y) = measured
    d = paired(x, y)
    return d if isinstance(d, str) else said_of(d, a, b)


def paired(a: Report, b: Report) -> Difference | str:
    """The comparison of two reports, or one sentence that says why there is none."""
    try:
        return compare(a, b)
    except ValueError as wrong:
        return f"No comparison seed by seed: {wrong}."


def verdict(run: Run) -> str:
    """What the paired comparison with the expert says."""
    expert = run.evaluations.get("expert")
    if run.policy is None:
        return run.missing.get("evaluation", "")
    if expert is None:
        return "The expert was not measured on these seeds, so there is nothing to hold the policy against."
    d = paired(run.policy, expert)
    if isinstance(d, str):
        return d
    if d.success is None or expert.success_rate is None:
        return f"The expert’s mean return was {amount(expert.mean_return)}. {_returns(d, 'the policy')}"
    hits, said = _hits(expert)
    told = f"The expert succeeded in {number(hits)} of {number(said)}, {rate(expert.success_rate)}. "
    return told + said_of(d, "the policy", "the expert")


def said_of(d: Difference, a: str, b: str) -> str:
    """A paired comparison in words: a against b."""
    if d.success is None or d.p is None or d.detectable is None:
        return _returns(d, a)
    if d.only_a == d.only_b == 0:
        return f"On every one of the {len(d.seeds)} seeds, {a} and {b} succeeded or failed alike."
    numbers = (
        f"{points(d.success)} percentage points; {d.only_a} seeds only {a} solved, {d.only_b} only {b}; "
        f"McNemar\u00a0p\u00a0{p_text(d.p)}"
    )
    if d.p <= _ALPHA:
        more = "more" if d.only_a > d.only_b else "less"
        return f"Seed by seed, {a} succeeds {more} often than {b} ({numbers})."
    if not math.isfinite(d.detectable):
        return f"Seed by seed, no difference was shown ({numbers}), but so few seeds could hardly show one."
    return (
        f"Seed by seed, no difference was shown ({numbers}). A true difference below "
        f"{100 * d.detectable:.0f} points could have been missed."
    )


def p_text(p: float) -> str:
    """A p-value with its sign: two digits, or that it is below 0.001."""
    return "<\u00a00.001" if p < 0.001 else f"=\u00a0{p:.2g}"


def _returns(d: Difference, a: str) -> str:
    e = d.mean_return
    if not (math.isfinite(e.low) and math.isfinite(e.high)) or e.low <= 0 <= e.high:
        word = "no difference in return was shown"
    else:
        word = f"{a}’s return is {'higher' if e.value > 0 else 'lower'}"
    return f"Seed by seed, {word}: {plain(e.text(signed=True))} over {e.n} pairs."


def training_facts(run: Run) -> str:
    """How long it was trained, in a few words; "" where nothing says."""
    seconds = number_in(run.facts, "seconds")
    return "" if seconds is None else duration(seconds)


def selected(run: Run) -> tuple[float, str] | None:
    """The step whose weights were kept, and how that step was chosen."""
    step = number_in(run.facts, "agent.selected_step")
    how = get(run.facts, "agent.selected", str)
    if step is None:
        return None
    return step, "kept: lowest validation" if how == "best" else "kept: last step"
