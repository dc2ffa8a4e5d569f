"""Recovery, then correction: the way back undoes what was done, and both segments are labelled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from understudy.dataset import Dataset
from understudy.episode import EXPERT, POLICY, RECOVERY, Episode
from understudy.experts import Gated, PolicyExpert
from understudy.experts.rewind import Familiar, Rewinding, Undo
from understudy.interactive.rac import Config, Method, until_corrected
from understudy.rollout import rollout


class Line:
    """A point on a line that goes where it is told; it sees where it is and how many steps have passed."""

    name = "line"

    def reset(self, *, seed):
        self.x, self.t = 0.0, 0
        return self._obs(), {}

    def step(self, action):
        self.x += float(action[0])
        self.t += 1
        return self._obs(), 0.0, False, self.t == 20, {}

    def _obs(self):
        return {"state": np.array([self.x, self.t])}


class Off:
    """A policy that drifts, faster and faster; its second action is the step."""

    def reset(self, seed: int) -> None: ...

    def act(self, obs):
        return np.array([0.1 * (obs["state"][1] + 1), 5.0])


class Home:
    """A policy that goes to where it should be, by at most 1."""

    def reset(self, seed: int) -> None: ...

    def act(self, obs):
        return np.array([np.clip(-obs["state"][0], -1, 1), 0.0])


class From:
    """A gate: the expert drives in these steps."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def reset(self, seed: int) -> None:
        self.t = -1

    def takes(self, obs, proposed, held, ask) -> bool:
        self.t += 1
        return self.t in self.steps


def supervised(gate, *, most=3, least=2, once=False, familiar=None, expert=None) -> Episode:
    r = Rewinding(
        expert or PolicyExpert(Home()), gate, Undo((0,), (7.0,)), familiar, most=most, least=least, once=once
    )
    g = Gated(r, r)
    return rollout(Line(), Off(), 0, g, g)


def drove(e: Episode) -> str:
    assert e.control is not None
    return "".join({POLICY: ".", EXPERT: "c", RECOVERY: "r"}[int(c)] for c in e.control)


def test_the_way_back_undoes_the_last_displacements_in_reverse_order():
    e = supervised(From(*range(5, 20)))
    assert drove(e) == "....." + "rrr" + "c" * 12
    forth, back = e.action[2:5], e.action[5:8]
    assert back[:, 0].tolist() == (-forth[::-1, 0]).tolist()
    assert (back[:, 1] == 7.0).all()
    # After the way back it is where it was three steps before the takeover.
    assert e.obs["state"][8, 0] == pytest.approx(e.obs["state"][2, 0], abs=1e-6)


def test_both_segments_are_labelled_with_what_was_done_and_nothing_else_is():
    e = supervised(From(*range(5, 20)))
    assert e.labelled.tolist() == [False] * 5 + [True] * 15
    assert (e.label[5:] == e.action[5:]).all()


def test_a_way_back_ends_where_the_gate_would_hand_back_and_a_correction_follows_all_the_same():
    assert drove(supervised(From(5, 6))) == "....." + "rr" + "cc" + "." * 11
    assert drove(supervised(From(5, 6, 7))) == "....." + "rrr" + "cc" + "." * 10


def test_the_second_way_back_goes_back_through_the_first_correction():
    e = supervised(From(5, 6, 7, 8, 14, 15, 16, 17), most=4)
    assert drove(e) == "....." + "rrrr" + "cc" + "..." + "rrrr" + "cc"
    assert e.action[14:18, 0].tolist() == (-e.action[10:14, 0][::-1]).tolist()


def test_once_means_once_an_episode():
    assert drove(supervised(From(5, 15), once=True)) == "....." + "r" + "cc" + "." * 12
    assert drove(supervised(From(5, 15), once=False)) == "....." + "r" + "cc" + "." * 7 + "r" + "cc" + ".."


def test_a_way_back_ends_where_everything_is_undone():
    e = supervised(From(*range(2, 20)), most=10)
    assert drove(e) == ".." + "rr" + "c" * 16
    assert e.obs["state"][4, 0] == pytest.approx(0.0, abs=1e-6)


def test_a_way_back_ends_where_the_state_is_familiar():
    e = supervised(From(*range(6, 20)), most=10, familiar=lambda obs: obs["state"][0] < 0.7)
    # It stood at 0.1 + 0.2 + ... + 0.6 = 2.1; undoing 0.6, 0.5 and 0.4 leads to 0.6.
    assert drove(e) == "." * 6 + "rrr" + "c" * 11


def test_in_a_familiar_state_nothing_is_undone():
    assert drove(supervised(From(*range(4, 20)), familiar=lambda obs: True)) == "...." + "c" * 16


def test_an_expert_with_nothing_to_say_leaves_the_policy_its_way_and_no_label():
    class Content:
        def reset(self, seed: int) -> None: ...

        def advise(self, obs, proposed):
            return None

    e = supervised(From(*range(5, 20)), expert=Content())
    assert drove(e) == "....." + "rrr" + "." * 12
    assert e.labelled.sum() == 3


def test_the_same_seed_gives_the_same_episode_after_another_one():
    r = Rewinding(PolicyExpert(Home()), From(3, 4, 5), Undo((0,), (7.0,)), None, most=2, least=1, once=True)
    g = Gated(r, r)
    assert rollout(Line(), Off(), 0, g, g) == rollout(Line(), Off(), 0, g, g)


def test_undoing_brings_the_hand_of_fetch_reach_back_within_millimetres():
    from understudy.envs import task

    which = task("fetch-reach")
    assert which.expert is not None
    env = which.make()

    class Away:
        """Away from the goal, so that the episode does not end."""

        def reset(self, seed: int) -> None: ...

        def act(self, obs):
            away = obs["achieved_goal"] - obs["desired_goal"]
            return np.append(0.5 * away / np.linalg.norm(away), 0.0)

    r = Rewinding(
        PolicyExpert(which.expert()),
        From(*range(6, 50)),
        Undo((0, 1, 2), (0.0,)),
        None,
        most=6,
        least=1,
        once=True,
    )
    g = Gated(r, r)
    for seed in range(3):
        e = rollout(env, Away(), seed, g, g)
        assert drove(e).startswith("." * 6 + "r" * 6 + "c")
        hand = e.obs["achieved_goal"]
        went = np.linalg.norm(hand[6] - hand[0])
        # It went nearly 10 cm, and stands 1 to 3 mm from where it began: the arm lags behind its target.
        assert went > 0.09
        assert np.linalg.norm(hand[12] - hand[0]) < 0.005
    env.close()


def test_undo_says_what_does_not_fit():
    with pytest.raises(ValueError, match="at least one is needed"):
        Undo(())
    with pytest.raises(ValueError, match="each once"):
        Undo((0, 0))
    with pytest.raises(ValueError, match="1 values are given for the 2 others"):
        Undo((0,), (1.0,)).action({}, [np.zeros(3)])
    with pytest.raises(ValueError, match="4 dimensions"):
        Undo((9,), (0.0, 0.0, 0.0)).action({}, [np.zeros(4)])
    assert Undo((0,)).action({}, []) is None


def walk(seed: int, n: int = 40) -> Episode:
    state = np.random.default_rng(seed).normal(size=(n + 1, 3)) * [1.0, 10.0, 0.0]
    return Episode.demonstration(state, np.zeros((n, 1)))


def test_demonstrated_states_are_familiar_and_far_ones_are_not():
    data = Dataset([walk(i) for i in range(5)])
    known = Familiar(data, 0.95)
    assert all(known({"state": data[0].obs["state"][t]}) for t in range(40))
    assert not known({"state": np.array([9.0, 90.0, 0.0])})
    # What never varied is not looked at.
    assert known({"state": data[0].obs["state"][0] + [0.0, 0.0, 100.0]})


def test_the_threshold_is_the_quantile_of_distances_between_episodes():
    data = Dataset([walk(i) for i in range(4)])
    states = np.concatenate([e.obs["state"][:-1, :2] for e in data])
    states = states / states.std(0)
    owner = np.repeat(np.arange(4), 40)
    apart = np.linalg.norm(states[:, None] - states, axis=-1)
    apart[owner[:, None] == owner] = np.inf
    assert Familiar(data, 0.5).near == pytest.approx(np.median(apart.min(1)), rel=1e-6)
    fresh = walk(99).obs["state"][3]
    want = np.linalg.norm(
        fresh[:2] / np.concatenate([e.obs["state"][:-1, :2] for e in data]).std(0) - states, axis=1
    )
    assert Familiar(data, 0.5).distance({"state": fresh}) == pytest.approx(want.min(), rel=1e-6)


def test_familiar_needs_two_episodes_and_more_than_pictures():
    with pytest.raises(ValueError, match="at least two"):
        Familiar([walk(0)])
    film = Episode.demonstration({"camera": np.zeros((4, 8, 8, 3), np.uint8)}, np.zeros(3))
    with pytest.raises(ValueError, match="pictures"):
        Familiar([film, film])


def test_the_episode_ends_after_its_first_correction():
    e = supervised(From(5, 15))
    cut = until_corrected(e)
    assert drove(cut) == "....." + "r" + "cc"
    assert len(cut.obs["state"]) == 9
    assert cut.success is None
    assert not cut.terminated
    assert cut.meta == e.meta
    assert (cut.label == e.label[:8]).all()
    assert cut.labelled.sum() == 3


@pytest.mark.parametrize("steps", [(), tuple(range(5, 20))])
def test_an_episode_without_a_handback_stays_whole(steps):
    e = supervised(From(*steps))
    assert until_corrected(e) is e
    assert until_corrected(replace(e, control=None)).labelled.sum() == e.labelled.sum()


def test_after_says_what_is_kept():
    e = supervised(From(5, 15))
    made = [Method(PolicyExpert(Home()), Config((0,), (7.0,), after=a), 3) for a in ("end", "policy")]
    assert len(made[0].kept(e)) == 8
    assert made[1].kept(e) is e


def test_displacements_must_be_named_unless_the_expert_goes_back_by_himself():
    with pytest.raises(ValueError, match="displacements 0 1 2"):
        Method(PolicyExpert(Home()), Config(), 3)

    class Person(From):
        def advise(self, obs, proposed):
            return np.zeros(2)

    assert Method(Person(1), Config(), 3).gate is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"back": 0}, "back 0"),
        ({"familiar": 1.5}, "familiar is 1.5"),
        ({"after": "never"}, "after is 'never'"),
        ({"patience": 0}, "patience 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Config(**settings)


def test_a_round_keeps_recoveries_and_corrections_and_nothing_after_them():
    from understudy.envs import task
    from understudy.interactive.rounds import Rounds, teach
    from understudy.record import demonstrate
    from understudy.runs import Network
    from understudy.train import Budget

    which = task("fetch-reach")
    assert which.expert is not None
    settings = Config((0, 1, 2), (0.0,), familiar=0.0, correction=2, takeover=0.3, handback=0.2, patience=3)
    got = teach(
        Method(PolicyExpert(which.expert()), settings, 1),
        which,
        start=demonstrate(which, range(3)),
        plan=Rounds(1, 3, validation_episodes=0, select="last"),
        network=Network(hidden=(8,)),
        budget=Budget(steps=20),
    )
    mine = [e for e in got.data if "round" in e.meta]
    driven = [drove(e) for e in mine]
    assert any("r" in d for d in driven)
    for d, e in zip(driven, mine, strict=True):
        assert d.rstrip("c").rstrip("r").strip(".") == ""  # policy, then back, then on, then the end
        assert e.labelled.tolist() == [c != "." for c in d]
    assert got.log[1]["method"]["recoveries"] == sum("r" in d for d in driven)
