"""What the numbers of an action mean, declared: which move a hand or joints, and against what."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

from understudy.episode import Meta
from understudy.numerics.rotations import shape_of

__all__ = [
    "META",
    "RECORDED",
    "ActionSpace",
    "Delta",
    "Effector",
    "Field",
    "converted",
    "seen_keys",
    "size_of",
]

META = "action_space"  # the name of the fact that carries a space with an episode
RECORDED = "recorded_action_space"  # and of the one that remembers it from before the first conversion
_WIDEST = 4096  # dimensions of an action or of a pose: what a file says is not believed beyond it


def size_of(form: str) -> int:
    """How many columns a rotation in that form takes; a matrix lies row by row."""
    shape = shape_of(form)
    return 9 if shape == (3, 3) else shape[0]


@dataclass(frozen=True)
class Field:
    """Columns [start, stop) of the action, or of the observation `key`.

    Args:
        form: of a rotation, a name of `numerics.rotations`; None for a position.
        key: the observation; None for the action itself.

    Raises:
        ValueError: when the columns are none, or not as many as the form takes.
    """

    start: int
    stop: int
    form: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if not (type(self.start) is type(self.stop) is int and 0 <= self.start < self.stop <= _WIDEST):
            raise ValueError(f"columns {self.start}:{self.stop} must be START:STOP with 0 <= START < STOP")
        if self.key is not None and not isinstance(self.key, str):
            raise ValueError(f"observation is {self.key!r}; it must be a name")
        if self.form is not None and self.stop - self.start != size_of(self.form):
            raise ValueError(
                f"columns {self} are {self.stop - self.start}; a rotation in that form takes "
                f"{size_of(self.form)}"
            )

    def __str__(self) -> str:
        columns = f"{self.start}:{self.stop}"
        place = columns if self.key is None else f"{self.key}[{columns}]"
        return place if self.form is None else f"{place}={self.form}"

    @property
    def columns(self) -> slice:
        """As an index of the last axis."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Effector:
    """What a part of the action moves: a hand with a position and a rotation, or joints (a position alone).

    Args:
        position, rotation: where the action holds its target (or how far to go); at least one of the two.
        seen_position, seen_rotation: where an observation holds its measured pose, in the same frame and
            units. Absolute actions alone can do without.
    """

    position: Field | None = None
    rotation: Field | None = None
    seen_position: Field | None = None
    seen_rotation: Field | None = None

    def __post_init__(self) -> None:
        if self.position is None and self.rotation is None:
            raise ValueError("an effector has a position, a rotation, or both; this one has neither")
        for name, acted, seen in (
            ("position", self.position, self.seen_position),
            ("rotation", self.rotation, self.seen_rotation),
        ):
            if seen is not None and acted is None:
                raise ValueError(f"the pose has a {name} ({seen}), but the action has none")
            if acted is not None and (acted.key is not None or (acted.form is None) != (name == "position")):
                raise ValueError(f"{name} is {acted}; it must be columns of the action")
            if seen is None:
                continue
            if seen.key is None or (seen.form is None) != (name == "position"):
                raise ValueError(f"the measured {name} is {seen}; it must be columns of an observation")
        if self.position and self.seen_position and _width(self.position) != _width(self.seen_position):
            raise ValueError(f"position {self.position} and its pose {self.seen_position} differ in width")

    @property
    def fields(self) -> tuple[Field, ...]:
        """Those of the action."""
        return tuple(f for f in (self.position, self.rotation) if f is not None)


def _width(field: Field) -> int:
    return field.stop - field.start


@dataclass(frozen=True)
class Delta:
    """Actions that say how far to go, instead of where to.

    Args:
        reference: "measured": from the pose that the observation of the same step holds, as the operational
            space controllers of robosuite and robomimic take it. "previous": from the target that the action
            before asked for, the first one from the measured pose.
        frame: of the difference. "world": p + Δp and ΔR R. "body": p + R Δp and R ΔR, with the pose p, R of
            the reference.
        position_scale: the distance, in the units of positions, that an action of 1 means; robosuite's
            `output_max` (0.05).
        rotation_scale: radians of an action of 1 (robosuite: 0.5); other than 1 only as axis_angle.
        clip: values beyond ±1 are clipped when absolute actions are converted, and counted. What is clipped
            does not come back.

    Raises:
        ValueError: for a name that is none of these, a scale that is not positive, or clipping against the
            previous target, where every later target would miss what was cut off.
    """

    reference: Literal["measured", "previous"]
    frame: Literal["world", "body"]
    position_scale: float = 1.0
    rotation_scale: float = 1.0
    clip: bool = False

    def __post_init__(self) -> None:
        if self.reference not in ("measured", "previous") or self.frame not in ("world", "body"):
            raise ValueError(
                f"delta is {self.reference!r} in the {self.frame!r} frame; it must be 'measured' or "
                "'previous', 'world' or 'body'"
            )
        for name, scale in (("position", self.position_scale), ("rotation", self.rotation_scale)):
            if not 0 < scale < float("inf"):
                raise ValueError(f"{name}_scale is {scale}; it must be positive")
        if not isinstance(self.clip, bool):
            raise ValueError(f"clip is {self.clip!r}; it must be true or false")
        if self.clip and self.reference == "previous":
            raise ValueError(
                "clip needs the reference 'measured': from the previous target on, what is clipped off one "
                "step is missing from all that follow"
            )


@dataclass(frozen=True)
class ActionSpace:
    """The meaning of an action vector. Columns that no effector names (grippers, say) mean what they meant.

    Args:
        width: A.
        effectors: one for each hand or arm.
        delta: None where actions are absolute targets.

    Raises:
        ValueError: when columns overlap or lie outside, or what a delta needs is not there.

    >>> space = ActionSpace(7, (Effector(Field(0, 3), Field(3, 6, "axis_angle")),))
    >>> space.with_form("6d").width, space.others
    (10, (6,))
    """

    width: int
    effectors: tuple[Effector, ...]
    delta: Delta | None = None

    def __post_init__(self) -> None:
        if type(self.width) is not int or not 1 <= self.width <= _WIDEST:
            raise ValueError(f"width is {self.width!r}; it must lie in [1, {_WIDEST}]")
        if not self.effectors:
            raise ValueError("an action space names at least one position or rotation")
        taken: set[int] = set()
        for field in self.fields:
            columns = set(range(field.start, field.stop))
            if field.stop > self.width:
                raise ValueError(f"columns {field} lie outside of an action of width {self.width}")
            if columns & taken:
                raise ValueError(f"columns {field} overlap with those of another part of the action")
            taken |= columns
        if self.delta is not None:
            for e in self.effectors:
                self._check_delta(e, self.delta)

    def _check_delta(self, e: Effector, delta: Delta) -> None:
        if (e.position and not e.seen_position) or (e.rotation and not e.seen_rotation):
            raise ValueError(
                f"delta actions need to know which observation holds the pose of {e.fields[0]}; name it"
            )
        if delta.frame == "body" and e.rotation is None:
            raise ValueError(f"{e.fields[0]} has no rotation, so it has no body frame; take 'world'")
        if delta.frame == "body" and e.position is not None and _width(e.position) != 3:
            raise ValueError(f"position {e.position} is no point in space; a body frame needs three columns")
        if delta.rotation_scale != 1 and e.rotation is not None and e.rotation.form != "axis_angle":
            raise ValueError(
                f"rotation_scale is {delta.rotation_scale}, but {e.rotation} is no axis_angle: only a "
                "rotation vector can be scaled"
            )

    @property
    def fields(self) -> tuple[Field, ...]:
        """The effectors' columns of the action, in order."""
        return tuple(sorted((f for e in self.effectors for f in e.fields), key=lambda f: f.start))

    @property
    def others(self) -> tuple[int, ...]:
        """The columns that no effector names."""
        taken = {c for f in self.fields for c in range(f.start, f.stop)}
        return tuple(c for c in range(self.width) if c not in taken)

    def with_form(self, form: str) -> ActionSpace:
        """The same with the action's rotations in another form; what stands behind them moves along."""
        grown = size_of(form)

        def moved(column: int) -> int:
            turns = (f for f in self.fields if f.form is not None and f.stop <= column)
            return column + sum(grown - (f.stop - f.start) for f in turns)

        def placed(field: Field | None) -> Field | None:
            if field is None:
                return None
            start = moved(field.start)
            if field.form is None:
                return replace(field, start=start, stop=start + field.stop - field.start)
            return replace(field, start=start, stop=start + grown, form=form)

        effectors = (
            replace(e, position=placed(e.position), rotation=placed(e.rotation)) for e in self.effectors
        )
        return ActionSpace(moved(self.width), tuple(effectors), self.delta)

    def to(self, delta: Delta | None, form: str | None = None) -> ActionSpace:
        """The space of the same effectors with absolute actions (None) or such deltas, rotations in `form`.

        Without a `form` rotations keep theirs.
        """
        plain = replace(self, delta=None)
        return replace(plain if form is None else plain.with_form(form), delta=delta)

    # ── as a fact of an episode ───────────────────────────────────────────────────────────────────────

    def text(self) -> str:
        """As one line of JSON, which `parse` reads: an episode's meta[META]."""
        return json.dumps(_lean(asdict(self)), separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> ActionSpace:
        """What `text` wrote.

        Raises:
            ValueError: when it is something else.
        """
        try:
            tree = json.loads(text)
            effectors = tuple(
                Effector(**{k: Field(**v) for k, v in _mapping(e).items()}) for e in tree["effectors"]
            )
            delta = None if "delta" not in tree else Delta(**_mapping(tree["delta"]))
            return cls(tree["width"], effectors, delta)
        except (KeyError, TypeError, ValueError, RecursionError) as wrong:
            words = " ".join(str(wrong).split())
            raise ValueError(f"the fact {META!r} is {text[:80]!r}, no action space: {words}") from None

    @classmethod
    def of(cls, meta: Meta) -> ActionSpace | None:
        """What an episode's meta says of its actions; None where it says nothing."""
        said = meta.get(META)
        return None if said is None else cls.parse(str(said))


def converted(facts: Iterable[Meta]) -> bool:
    """Whether any of these episodes has other actions than were recorded: none that its environment takes."""
    return any(meta.get(META) != meta.get(RECORDED, meta.get(META)) for meta in facts)


def _lean(tree: Any) -> Any:
    """Without the entries that are None."""
    if isinstance(tree, Mapping):
        return {k: _lean(v) for k, v in tree.items() if v is not None}
    return [_lean(v) for v in tree] if isinstance(tree, list | tuple) else tree


def _mapping(tree: Any) -> Mapping[str, Any]:
    if not isinstance(tree, dict):
        raise TypeError(f"{tree!r} is no mapping")
    return cast("Mapping[str, Any]", tree)


def seen_keys(space: ActionSpace) -> set[str]:
    """The observations that hold poses."""
    fields = (f for e in space.effectors for f in (e.seen_position, e.seen_rotation))
    return {f.key for f in fields if f is not None and f.key is not None}
