"""Decisions, undo and saves in any order, against a model of what the record must say.

``NAPARI_CLN_RUNS=2000`` runs it as often outside the suite.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.readers import read_annotation
from napari_cln.types import Frame, Prediction
from napari_cln.widgets.common.results import Results
from napari_cln.widgets.correct.cases import CaseKey
from napari_cln.widgets.correct.session import Session

RUNS = int(os.environ.get("NAPARI_CLN_RUNS", "25"))
SHRINKS = os.environ.get("NAPARI_CLN_SHRINK", "1") == "1"
STEPS = int(os.environ.get("NAPARI_CLN_STEPS", "30"))
SHAPE = (32, 40)
ME, RIVAL = "r1", "r9"
EMPTY = np.zeros(SHAPE, np.uint8).tobytes()
PREDICTED = (np.s_[2:8, 2:8], np.s_[20:26, 2:8])
FOLDERS = np.s_[2:10, 25:33]
TRUTHS = ("benign", "metastatic", "unknown")


def box(where, node: int = 1) -> bytes:
    masks = np.zeros(SHAPE, np.uint8)
    masks[where] = node
    return masks.tobytes()


def array(mask: bytes) -> np.ndarray:
    return np.frombuffer(mask, np.uint8).reshape(SHAPE)


class Told:
    """What must stand for each mask of one frame, and who stands for it: the whole rule."""

    def __init__(self):
        self.given, self.said, self.origin, self.painted = {}, defaultdict(list), {}, set()

    def give(self, mask, status, who, by_model):
        self.given[mask], self.origin[mask] = (status, who), (mask, by_model)
        self.said[mask].clear()
        self.painted.discard(mask)

    def paint(self, mask, before):
        if mask not in self.origin:
            self.origin[mask] = self.origin[before]
            self.painted.add(mask)

    def stands(self, mask):
        if self.said[mask]:
            return self.said[mask][-1]
        if mask in self.given:
            return self.given[mask]
        if mask != EMPTY:
            return "corrected", ME
        return ("rejected", ME) if self.origin[mask][1] and mask in self.painted else ("predicted", None)


class Layer:
    """A Labels layer: its mask, and what undo and redo lead to."""

    def __init__(self, mask):
        self.mask, self.undo, self.redo, self.reading = mask, [], [], None

    def put(self, mask):
        if mask != self.mask:
            self.undo.append(self.mask)
            self.redo.clear()
            self.mask = mask

    def step(self, back):
        there, home = (self.undo, self.redo) if back else (self.redo, self.undo)
        if there:
            home.append(self.mask)
            self.mask = there.pop()

    def move(self, goal, back):
        """Step to a mask where the next step leads there, else put it."""
        there = self.undo if back else self.redo
        if there and there[-1] == goal:
            self.step(back)
        else:
            self.put(goal)


def follow(facts, then, now):
    """Truths of nodes, for the nodes of other masks that lie in the same place."""
    found = {}
    for node, truth in facts.items():
        place = array(then) == node
        for other in set(now) - {0}:
            here = array(now) == other
            if 2 * (place & here).sum() >= max(1, (place.sum() + here.sum()) / 2):
                found[other] = truth
    return found


class Desk:
    """One frame: layers, judgements, truths; what its record says, and what of it is not told yet."""

    def __init__(self, mask, status, who, truth):
        self.told, self.layers, self.taken_back = Told(), [], []
        self.moves = defaultdict(list)
        self.came, self.since, self.facts, self.typed = {}, {}, {}, []
        self.seen = self.filed = None
        self.is_stale = self.has_failed = False
        self.decisions = []
        self.record = (mask, status, who, tuple((node, truth) for node in sorted(set(mask) - {0})))
        self.open()

    @property
    def layer(self):
        return self.layers[-1]

    @property
    def root(self):
        return self.told.origin[self.layer.mask][0]

    # truths

    def give(self, mask, status, who, came, since=None):
        self.told.give(mask, status, who, True)
        self.moves[mask].clear()
        self.taken_back.clear()
        self.came[mask], self.since[mask] = dict(came), len(self.typed) if since is None else since

    def recall(self):
        """What came with the masks, and what was typed since: by number there, by place elsewhere."""
        mask, root = self.layer.mask, self.root
        self.facts[root] = dict(self.came[root])
        for given, then, facts in self.typed[self.since[root] :]:
            self.facts[root] |= facts if given == root else follow(facts, then, mask)

    def type(self, truth):
        if self.facts[self.root].get(1) != truth:
            self.typed.append((self.root, self.layer.mask, {1: truth}))
            self.facts[self.root][1] = truth

    # what is filed

    def open(self):
        """Show what the folder has; where somebody else spoke last, what they say stands."""
        mask, status, who, facts = self.record
        if mask not in self.told.origin or self.told.stands(mask) != (status, who):
            self.give(mask, status, who, dict(facts))
        self.layers, self.seen = [Layer(mask)], mask
        self.is_stale = self.has_failed = False
        self.recall()
        self.filed = self.state()

    def state(self):
        mask = self.layer.mask
        facts = self.facts[self.root]
        nodes = tuple((node, facts.get(node, "unknown")) for node in sorted(set(mask) - {0}))
        return mask, *self.told.stands(mask), nodes

    def look(self):
        """See a stroke, an undo or a redo."""
        mask = self.layer.mask
        if mask != self.seen:
            if mask in self.told.origin:
                self.recall()
            else:
                self.told.paint(mask, self.seen)
                self.taken_back.clear()
            self.seen = mask
            self.file()

    def settle(self, before):
        """See masks that a decision put there."""
        self.seen = self.layer.mask
        if self.seen in self.told.origin:
            self.recall()
        else:
            self.told.origin[self.seen] = self.told.origin[before]

    def file(self, decision=None):
        state = self.state()
        if decision is None and state == self.filed:
            return
        self.filed = state
        if self.is_stale:
            self.has_failed = True
        else:
            self.record = state
            self.decisions += [decision] if decision else []


class Reading(RuleBasedStateMachine):
    """A reader at work in a real training folder, through a real viewer without a window."""

    template: Path
    scratch: Path
    number = 0

    @initialize()
    def begin(self):
        type(self).number += 1
        self.path = self.scratch / str(self.number)
        shutil.copytree(self.template, self.path)
        self.folder = TrainingFolder.open(self.path)
        self.session = Session(ViewerModel())
        self.session.filing.take_reader(ME)
        self.session.filing.enter(self.folder)
        self.desks, self.at = {}, None
        self.go(0)

    def teardown(self):
        if hasattr(self, "session"):
            self.deliver()
            self.agree()
            self.session.filing.saver.close()
            shutil.rmtree(self.path)

    # ------------------------------------------------------------ helpers

    @property
    def desk(self) -> Desk:
        return self.desks[self.at]

    @property
    def labels(self):
        return self.session.mask.labels

    def go(self, number):
        ids = self.folder.ids()
        case_id = ids[number % len(ids)]
        if self.at is not None:
            self.desk.look()
        self.session.open_case(case_id)
        if case_id not in self.desks:
            known = read_annotation(self.folder, self.folder.case(case_id))
            truth = known.nodes[0].truth if known.nodes else "unknown"
            who = None if known.status == "predicted" else known.annotator
            self.desks[case_id] = Desk(known.instances.tobytes(), known.status, who, truth)
        elif case_id != self.at and not self.was_aside:
            self.desks[case_id].open()
        elif case_id != self.at:
            self.desks[case_id].is_stale = self.desks[case_id].has_failed = False
        self.at = case_id

    def walk(self, number):
        ids = self.folder.ids()
        case_id = ids[number % len(ids)]
        self.was_aside = self.session.navigator.cases.has_aside(CaseKey(self.folder.path, case_id))
        if case_id in self.desks and self.desks[case_id].is_stale:
            self.session.filing.saver.flush()  # else it is a race whether the folder is asked
        self.go(number)

    def deliver(self):
        """Save everything, and let the reader be told of it."""
        self.session.look(seconds=60)
        self.desk.look()
        self.session.filing.saver.flush()
        for _ in range(3):
            QApplication.processEvents()
        for desk in self.desks.values():
            if desk.has_failed:
                desk.is_stale = desk.has_failed = False
                desk.filed = None

    def agree(self):
        """The record on disk says what the model says, and no decision is missing in its history."""
        for case_id, desk in self.desks.items():
            record = self.folder.record(case_id)
            case = self.folder.case(case_id)
            known = read_annotation(self.folder, case)
            who = None if case.status == "predicted" else known.annotator
            nodes = tuple((node.id, node.truth) for node in case.nodes)
            assert (case.status, who, nodes) == desk.record[1:], case_id
            assert known.instances.tobytes() == desk.record[0], case_id
            actions = iter(line.action for line in record.history if line.who == ME)
            assert all(decision in actions for decision in desk.decisions), record.history

    # ------------------------------------------------------------ strokes

    @rule(
        row=st.integers(11, 17),
        column=st.integers(0, 30),
        node=st.sampled_from([0, 1, 2]),
        look=st.booleans(),
    )
    def paint(self, row, column, node, look):
        rows, columns = np.mgrid[row : row + 3, column : column + 4]
        masks = array(self.desk.layer.mask).copy()
        masks[rows, columns] = node
        self.labels.data_setitem((rows.ravel(), columns.ravel()), node)
        self.desk.layer.put(masks.tobytes())
        self.maybe_look(look)

    @rule(look=st.booleans())
    def erase_all(self, look):
        if self.desk.layer.mask != EMPTY:
            self.labels.data_setitem(np.nonzero(self.labels.data), 0)
            self.desk.layer.put(EMPTY)
        self.maybe_look(look)

    @rule(back=st.booleans(), look=st.booleans())
    def undo_of_the_layer(self, back, look):
        (self.labels.undo if back else self.labels.redo)()
        self.desk.layer.step(back)
        self.maybe_look(look)

    def maybe_look(self, look):
        if look:
            self.session.look(seconds=60)
            self.desk.look()

    # ------------------------------------------------------------ decisions

    def say(self, status, action, before=None, after=None):
        desk = self.desk
        desk.told.said[desk.layer.mask].append((status, ME))
        desk.moves[desk.layer.mask].append((action, before, after))
        desk.taken_back.clear()
        desk.file(action)

    @rule()
    def accept(self):
        self.session.decisions.accept()
        desk = self.desk
        desk.look()
        mask = desk.layer.mask
        if mask != EMPTY:
            root, _ = desk.told.origin[mask]
            as_given = mask == root and desk.told.given[root][0] != "corrected"
            self.say("accepted" if as_given else "corrected", "accepted")

    @rule()
    def reject(self):
        self.session.decisions.reject()
        self.desk.look()
        self.say("rejected", "rejected")

    @rule()
    def no_node(self):
        self.session.decisions.no_node()
        desk = self.desk
        desk.look()
        before = desk.layer.mask
        desk.layer.put(EMPTY)
        desk.settle(before)
        moved = before != EMPTY
        self.say("no-node", "no-node", before if moved else None, EMPTY if moved else None)

    def take_back(self):
        desk = self.desk
        mask = desk.layer.mask
        entry = desk.told.said[mask].pop()
        action, before, after = desk.moves[mask].pop()
        if before is not None:
            desk.layer.move(before, back=True)
            desk.settle(mask)
        desk.taken_back.append((desk.layer.mask, entry, action, before, after))
        desk.file("taken-back")

    @rule()
    def press_take_back(self):
        self.session.steps.take_back()
        self.desk.look()
        if self.desk.told.said[self.desk.layer.mask]:
            self.take_back()

    @rule()
    def control_z(self):
        self.session.steps.undo(self.labels)
        self.desk.look()
        if self.desk.told.said[self.desk.layer.mask]:
            self.take_back()
        else:
            self.desk.layer.step(back=True)
            self.desk.look()

    @rule()
    def control_shift_z(self):
        self.session.steps.redo(self.labels)
        desk = self.desk
        desk.look()
        if desk.taken_back and desk.taken_back[-1][0] == desk.layer.mask:
            _, entry, action, before, after = desk.taken_back.pop()
            if after is not None:
                desk.layer.move(after, back=False)
                desk.settle(before)
            desk.told.said[desk.layer.mask].append(entry)
            desk.moves[desk.layer.mask].append((action, before, after))
            desk.file(action)
        else:
            desk.layer.step(back=False)
            desk.look()

    # ------------------------------------------------------------ what is typed, predicted, brought

    @rule(truth=st.sampled_from(TRUTHS))
    def type_a_truth(self, truth):
        desk = self.desk
        if 1 in array(desk.layer.mask):
            self.session.notes.take_facts({1: Node(id=1, truth=truth)})
            desk.look()
            desk.type(truth)
            desk.file()

    @rule(which=st.integers(0, 1))
    def predict_again(self, which):
        self.deliver()
        session, desk = self.session, self.desk
        instances, known = array(box(PREDICTED[which])), session.mask.frame
        prediction = Prediction(
            frame=known,
            probability=instances.astype(np.float32),
            instances=instances,
            node_scores=(0.7,),
            class_probabilities={"benign": 0.3, "malignant": 0.7},
            model_id=f"model{which}@123456789abc",
        )
        Results(session.navigator.viewer, session.navigator.image, [0], {}).put(prediction)
        session.refresh()
        session.navigator.mend()
        layer, mask, root = desk.layer, instances.tobytes(), desk.root
        in_place = layer.mask == (layer.reading or EMPTY)
        if mask not in desk.told.origin:
            came = follow(desk.came[root], root, mask) if in_place else {}
            desk.give(mask, "predicted", None, came, desk.since[root] if in_place else None)
        if in_place:
            layer.put(mask)
        else:
            desk.layers.append(Layer(mask))
            saved, status, who, facts = desk.record
            if saved == mask:  # what the folder says of it
                desk.is_stale = False
                if desk.told.stands(mask) != (status, who):
                    desk.give(mask, status, who, dict(facts))
                desk.recall()
                desk.filed = desk.state()
            else:
                desk.came[mask] = follow(dict(facts), saved, mask) | desk.came[mask]
        desk.layer.reading = desk.seen = mask
        desk.recall()

    @rule()
    def bring_the_saved_mask(self):
        self.deliver()
        self.session.bring_saved()
        desk = self.desk
        mask, status, who, facts = desk.record
        desk.give(mask, status, who, dict(facts))
        desk.layer.put(mask)
        desk.seen = mask
        desk.is_stale = False
        desk.recall()
        desk.filed = desk.state()

    # ------------------------------------------------------------ ways, rivals, saves

    @rule(number=st.integers(0, 2))
    def walk_to(self, number):
        self.session.look(seconds=60)
        self.desk.look()
        self.walk(number)

    @rule(status=st.sampled_from(["corrected", "accepted", "rejected"]), column=st.integers(0, 20))
    def rival_saves(self, status, column):
        self.deliver()
        other = TrainingFolder.open(self.path)
        known = read_annotation(other, other.case(self.at))
        mask = box(np.s_[27:31, column : column + 6])
        nodes = (Node(id=1, status=status, truth="benign"),)
        other.save(
            replace(known, instances=array(mask), nodes=nodes, status=status, based_on="rival@123456789abc"),
            who=RIVAL,
        )
        self.desk.record = (mask, status, RIVAL, ((1, "benign"),))
        self.desk.is_stale = True

    @rule()
    def let_the_saves_end(self):
        self.deliver()
        self.agree()

    # ------------------------------------------------------------ what holds always

    @precondition(lambda self: self.at is not None)
    @invariant()
    def the_canvas_says_what_stands(self):
        mask = self.session.mask
        assert mask.masks.tobytes() == self.desk.layer.mask
        if self.desk.layer.mask == self.desk.seen:
            self.session.look(seconds=60)
            assert (mask.judgement.status, mask.judgement.who) == self.desk.told.stands(self.desk.seen)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """Three frames: one accepted by another reader, one only predicted, one without a node."""
    folder = TrainingFolder.create(tmp_path_factory.mktemp("template") / "study")
    overlay = np.zeros(SHAPE, bool)
    for number, (status, mask) in enumerate(
        [("accepted", box(FOLDERS)), ("predicted", box(FOLDERS)), ("no-node", EMPTY)]
    ):
        pixels = np.random.default_rng(number).integers(0, 255, SHAPE, np.uint8)
        nodes = () if mask == EMPTY else (Node(id=1, status=status, truth="metastatic"),)
        annotation = Annotation(
            frame=Frame(pixels=pixels, scan_area=(0, 0, *SHAPE)),
            instances=array(mask),
            nodes=nodes,
            status=status,
            based_on="net@123456789abc",
        )
        folder.save(annotation, who="r0", overlay=overlay)
    return folder.path


def test_the_record_says_what_the_reader_said_last_whatever_was_undone(qapp, template, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))
    Reading.template, Reading.scratch = template, tmp_path

    run_state_machine_as_test(
        Reading,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=[*HealthCheck],
            phases=[phase for phase in Phase if SHRINKS or phase is not Phase.shrink],
        ),
    )
