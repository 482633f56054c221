"""The ledger: what was said of each mask of a frame."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cln.annotation import Node
from napari_cln.widgets.correct.ledger import Given, Judgement, Ledger, PackedMasks, Said, Typed, follow_nodes


def masks(*boxes: tuple[slice, slice], shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    made = np.zeros(shape, np.uint8)
    for node, place in enumerate(boxes, start=1):
        made[place] = node
    return made


LEFT, RIGHT = np.s_[2:10, 2:10], np.s_[2:10, 18:26]


@pytest.fixture
def ledger() -> Ledger:
    """A frame with a prediction ``p`` and a mask ``q`` that r1 painted on it."""
    ledger = Ledger()
    given = ledger.give(Given(digest="p", based_on="net@1", facts={1: Node(id=1, truth="benign")}))
    ledger.paint("q", given, "r1")
    return ledger


def say(ledger: Ledger, mask: str, status: str, who: str = "r1") -> None:
    ledger.say(mask, Said(action=status, status=status, who=who))


def test_a_decision_stands_for_its_mask_alone(ledger):
    say(ledger, "p", "rejected")

    assert ledger.judgement("p", is_empty=False) == Judgement(status="rejected", who="r1")
    assert ledger.judgement("q", is_empty=False) == Judgement(status="corrected", who="r1")


def test_the_last_of_two_decisions_stands_and_the_first_comes_back(ledger):
    say(ledger, "q", "accepted")
    say(ledger, "q", "rejected")

    ledger.take_back("q", "q")

    assert ledger.judgement("q", is_empty=False).status == "accepted"


def test_an_erased_prediction_is_rejected_and_an_empty_mask_of_ones_own_is_not(ledger):
    ledger.paint("none", ledger.origin("p"), "r1")
    own = Ledger()
    own.paint("none", own.give(Given(digest="own")), "r1")

    assert ledger.judgement("none", is_empty=True) == Judgement(status="rejected", who="r1")
    assert own.judgement("none", is_empty=True) == Judgement(status="predicted")


def test_who_gives_a_mask_again_has_spoken_last(ledger):
    say(ledger, "q", "accepted")

    ledger.give(Given(digest="q", status="rejected", who="r2"))

    assert ledger.judgement("q", is_empty=False) == Judgement(status="rejected", who="r2")
    assert ledger.last_said("q") is None


def test_a_new_stroke_ends_what_redo_could_say_again(ledger):
    say(ledger, "q", "accepted")
    ledger.take_back("q", "q")
    assert ledger.last_taken_back("q").status == "accepted"

    ledger.paint("r", ledger.origin("q"), "r1")

    assert ledger.last_taken_back("q") is None


def test_a_name_typed_later_stands_under_earlier_strokes():
    ledger = Ledger()
    ledger.paint("q", ledger.give(Given(digest="p")), "")
    ledger.sign("r1")

    assert ledger.judgement("q", is_empty=False).who == "r1"


def test_packed_masks_come_out_as_they_went_in():
    made = masks(LEFT, RIGHT)

    assert np.array_equal(PackedMasks(made).unpack(), made)


class TestFacts:
    def test_they_follow_the_place_and_not_the_number(self):
        facts = {1: Node(id=1, truth="metastatic"), 2: Node(id=2, truth="benign")}

        followed = follow_nodes(facts, PackedMasks(masks(LEFT, RIGHT)), masks(RIGHT, LEFT))

        assert {node: fact.truth for node, fact in followed.items()} == {1: "benign", 2: "metastatic"}

    def test_a_node_elsewhere_gets_none(self):
        facts = {1: Node(id=1, truth="metastatic")}

        assert follow_nodes(facts, PackedMasks(masks(LEFT)), masks(RIGHT)) == {}

    def test_what_was_typed_stands_for_masks_that_come_back_or_are_new(self, ledger):
        first, second = masks(LEFT), masks(RIGHT, LEFT)
        given = ledger.give(Given(digest="a", masks=PackedMasks(first)))
        other = ledger.give(Given(digest="b", masks=PackedMasks(second)))
        typed = {2: Node(id=2, truth="metastatic")}
        ledger.type(Typed(given=other, masks=PackedMasks(second), facts=typed))

        ledger.recall(given, first)

        assert given.facts == {1: Node(id=1, truth="metastatic")}

    def test_what_the_folder_says_later_outdoes_what_was_typed_before(self, ledger):
        now = masks(LEFT)
        given = ledger.give(Given(digest="a", masks=PackedMasks(now)))
        ledger.type(Typed(given=given, masks=PackedMasks(now), facts={1: Node(id=1, truth="benign")}))

        saved = ledger.give(Given(digest="s", facts={1: Node(id=1, truth="metastatic")}))
        ledger.recall(saved, now)

        assert saved.facts[1].truth == "metastatic"
