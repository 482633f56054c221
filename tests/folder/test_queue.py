"""Which frame is asked for next, and the reason that is given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cln.folder.queue import (
    FrameSigns,
    appearance,
    rank,
    signs_of_case,
    unlikeness,
)
from napari_cln.types import Frame

shares = st.floats(0, 1)


NODE = {"key": "a", "node_scores": (0.9,)}


@pytest.mark.parametrize(
    ("signs", "why"),
    [
        (
            FrameSigns(key="a", frame_score=0.9, finds_masks=True),
            "no node was found, but the score of the frame is 0.90",
        ),
        (FrameSigns(**NODE, frame_score=0.2), "the node scores 0.90, but the frame as a whole 0.20"),
        (FrameSigns(**NODE, truth="benign"), "the truth is benign, but the score 0.90"),
        (
            FrameSigns(key="a", node_scores=(0.2,), truth="metastatic"),
            "the truth is metastatic, but the score 0.20",
        ),
        (FrameSigns(key="a", unsure=0.4), "the border is uncertain in 40% of the mask"),
        (FrameSigns(key="a", novelty=0.95), "it looks unlike anything labelled"),
        (FrameSigns(key="a", agreement=0.3), "two readers differ: Dice 0.30"),
    ],
)
def test_each_reason_is_told_in_words(signs, why):
    (suggestion,) = rank([signs])

    assert suggestion.why == why


@pytest.mark.parametrize(
    "signs",
    [
        FrameSigns(key="a"),
        FrameSigns(key="a", node_scores=(0.9,), frame_score=0.8),
        FrameSigns(key="a", node_scores=(0.9,), truth="metastatic"),
        FrameSigns(key="a", frame_score=0.9, finds_masks=False),
        FrameSigns(key="a", unsure=0.05, novelty=0.1, agreement=0.95),
    ],
)
def test_a_frame_without_a_reason_is_not_asked_for(signs):
    assert rank([signs]) == []


def test_the_strongest_reason_is_the_one_given():
    (suggestion,) = rank([FrameSigns(key="a", unsure=0.3, agreement=0.1)])

    assert suggestion.why.startswith("two readers differ")
    assert suggestion.urgency == pytest.approx(0.9)


def test_of_neighbours_in_a_cine_only_the_most_urgent_is_asked_for():
    frames = [FrameSigns(key=str(i), cine="c", index=i, unsure=0.5 + i / 100) for i in range(12)]

    assert [suggestion.key for suggestion in rank(frames, gap=5)] == ["11", "5"]


def test_frames_of_two_cines_are_no_neighbours():
    frames = [FrameSigns(key=cine, cine=cine, index=3, unsure=0.5) for cine in "ab"]

    assert [suggestion.key for suggestion in rank(frames)] == ["a", "b"]


@given(
    st.lists(st.tuples(st.sampled_from([None, "c", "d"]), st.integers(0, 40), shares), max_size=40),
    st.integers(0, 8),
    st.integers(1, 20),
)
def test_the_list_is_sorted_thinned_and_as_short_as_asked(drawn, gap, n):
    frames = [
        FrameSigns(key=str(i), cine=cine, index=index, unsure=u) for i, (cine, index, u) in enumerate(drawn)
    ]

    suggestions = rank(frames, n, gap)

    urgencies = [suggestion.urgency for suggestion in suggestions]
    assert urgencies == sorted(urgencies, reverse=True)
    assert len(suggestions) <= n
    chosen = [frames[int(suggestion.key)] for suggestion in suggestions]
    for one in chosen:
        for other in chosen:
            if one is not other and one.cine is not None and one.cine == other.cine:
                assert abs(one.index - other.index) > gap


def test_a_labelled_case_is_not_novel_but_readers_may_differ(study):
    case = study.cases()[0]

    signs = signs_of_case(case, novelty=1.0, agreement=0.4)

    assert signs.novelty is None
    assert [suggestion.key for suggestion in rank([signs])] == [case.id]


def test_another_kind_of_picture_is_unlike_those_labelled(necks):
    looks = [appearance(Frame(pixels=pixels).grey) for pixels, _ in necks]

    negative = 255 - Frame(pixels=necks[0][0]).grey

    same, odd = unlikeness([looks[3], appearance(negative)], looks)

    assert same == 0
    assert odd == 1


def test_with_few_labelled_frames_nothing_is_said_about_novelty(necks):
    look = appearance(Frame(pixels=necks[0][0]).grey)

    assert unlikeness([look], [look] * 9) == [None]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 255))
def test_a_frame_of_any_size_and_one_grey_value_has_an_appearance(rows, columns, value):
    assert not appearance(np.full((rows, columns), value, np.uint8)).any()
