"""Decisions and undo in a cine: many frames in one layer, with one history of strokes for all of them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtWidgets import QApplication
from test_decisions import EMPTY, ME, RUNS, SHAPE, SHRINKS, STEPS, Told, array

from napari_cln._layers import SCAN_AREA_KEY
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.readers import read_annotation
from napari_cln.widgets.correct.session import Session

N_FRAMES = 4


class Frames:
    """A cine's layer and what must stand for each of its frames."""

    def __init__(self):
        self.masks = [EMPTY] * N_FRAMES
        self.undo, self.redo, self.at = [], [], 0
        self.told = [Told() for _ in range(N_FRAMES)]
        for told in self.told:
            told.give(EMPTY, "predicted", None, False)
        self.moves = [defaultdict(list) for _ in range(N_FRAMES)]
        self.taken_back = [[] for _ in range(N_FRAMES)]
        self.seen, self.records, self.filed = [EMPTY] * N_FRAMES, [None] * N_FRAMES, [None] * N_FRAMES

    def put(self, mask):
        if mask != self.masks[self.at]:
            self.undo.append((self.at, self.masks[self.at]))
            self.redo.clear()
            self.masks[self.at] = mask

    def step(self, back):
        there, home = (self.undo, self.redo) if back else (self.redo, self.undo)
        if not there:
            return None
        frame, mask = there.pop()
        home.append((frame, self.masks[frame]))
        self.masks[frame] = mask
        return frame

    def move(self, goal, back):
        there = self.undo if back else self.redo
        if there and there[-1] == (self.at, goal):
            self.step(back)
        else:
            self.put(goal)

    def look(self):
        for frame, mask in enumerate(self.masks):
            if mask != self.seen[frame]:
                if mask not in self.told[frame].origin:
                    self.told[frame].paint(mask, self.seen[frame])
                    self.taken_back[frame].clear()
                self.seen[frame] = mask
                self.file(frame)

    def file(self, frame, decision=False):
        state = (self.masks[frame], *self.told[frame].stands(self.masks[frame]))
        if decision or state != self.filed[frame]:
            self.filed[frame] = self.records[frame] = state


class CineReading(RuleBasedStateMachine):
    """A reader who goes from frame to frame of a cine."""

    scratch: Path
    number = 0

    @initialize()
    def begin(self):
        type(self).number += 1
        self.folder = TrainingFolder.create(self.scratch / str(self.number))
        pixels = np.random.default_rng(3).integers(0, 255, (N_FRAMES, *SHAPE), np.uint8)
        self.image = Image(pixels, name="cine", metadata={SCAN_AREA_KEY: (0, 0, *SHAPE)})
        viewer = ViewerModel()
        viewer.add_layer(self.image)
        self.session = Session(viewer)
        self.session.filing.take_reader(ME)
        self.session.filing.enter(self.folder)
        self.model = Frames()
        for frame in (*range(N_FRAMES), 0):
            self.session.navigator.show_frame(self.image, frame)

    def teardown(self):
        if hasattr(self, "session"):
            self.let_the_saves_end()
            self.session.filing.saver.close()

    @property
    def labels(self):
        return self.session.mask.labels

    @property
    def told(self):
        return self.model.told[self.model.at]

    @property
    def mask(self):
        return self.model.masks[self.model.at]

    # ------------------------------------------------------------ ways and strokes

    @rule(frame=st.integers(0, N_FRAMES - 1))
    def go(self, frame):
        self.session.navigator.show_frame(self.image, frame)
        self.model.at = frame

    @rule(row=st.integers(2, 20), node=st.integers(0, 2), look=st.booleans())
    def paint(self, row, node, look):
        rows, columns = (index.ravel() for index in np.mgrid[row : row + 5, 4:12])
        masks = array(self.mask).copy()
        masks[rows, columns] = node
        self.labels.data_setitem((np.full_like(rows, self.model.at), rows, columns), node)
        self.model.put(masks.tobytes())
        if look:
            self.session.look(seconds=60)
            self.model.look()

    @rule(back=st.booleans())
    def undo_of_the_layer(self, back):
        (self.labels.undo if back else self.labels.redo)()
        self.model.step(back)
        self.session.look(seconds=60)
        self.model.look()

    # ------------------------------------------------------------ decisions

    def say(self, status, action, before=None):
        model, at = self.model, self.model.at
        self.told.said[self.mask].append((status, ME))
        model.moves[at][self.mask].append((action, before))
        model.taken_back[at].clear()
        model.file(at, decision=True)

    @rule(action=st.sampled_from(["accept", "reject", "no_node"]))
    def decide(self, action):
        getattr(self.session.decisions, action)()
        model, at = self.model, self.model.at
        model.look()
        if action == "no_node":
            before = self.mask
            model.put(EMPTY)
            model.seen[at] = EMPTY
            self.say("no-node", action, None if before == EMPTY else before)
        elif action == "reject":
            self.say("rejected", action)
        elif self.mask != EMPTY:
            self.say("corrected", action)

    def take_back(self):
        model, at, mask = self.model, self.model.at, self.mask
        said, (action, before) = self.told.said[mask].pop(), model.moves[at][mask].pop()
        if before is not None:
            model.move(before, back=True)
            model.seen[at] = self.mask
        model.taken_back[at].append((self.mask, said, action, before))
        model.file(at, decision=True)

    @rule()
    def press_take_back(self):
        self.session.steps.take_back()
        self.model.look()
        if self.told.said[self.mask]:
            self.take_back()

    @rule()
    def control_z(self):
        self.session.steps.undo(self.labels)
        self.model.look()
        if self.told.said[self.mask]:
            self.take_back()
        else:
            self.follow(self.model.step(back=True))

    @rule()
    def control_shift_z(self):
        self.session.steps.redo(self.labels)
        model, at = self.model, self.model.at
        model.look()
        if model.taken_back[at] and model.taken_back[at][-1][0] == self.mask:
            _, said, action, before = model.taken_back[at].pop()
            if before is not None:
                model.move(EMPTY, back=False)
                model.seen[at] = EMPTY
            self.told.said[self.mask].append(said)
            model.moves[at][self.mask].append((action, before))
            model.file(at, decision=True)
        else:
            self.follow(model.step(back=False))

    def follow(self, frame):
        self.model.look()
        if frame is not None:
            self.model.at = frame  # nothing is undone unseen

    # ------------------------------------------------------------ saves, and what holds always

    @rule()
    def let_the_saves_end(self):
        self.session.look(seconds=60)
        self.model.look()
        self.session.filing.saver.flush()
        QApplication.processEvents()
        for frame, told in enumerate(self.model.records):
            case_id = self.folder.identify(
                self.session.desk.mask_of(self.image, self.labels, frame, ME).frame
            )
            if told is None:
                assert case_id not in self.folder.ids()
                continue
            case = self.folder.case(case_id)
            known = read_annotation(self.folder, case)
            who = None if case.status == "predicted" else known.annotator
            assert (case.status, who) == told[1:]
            assert known.instances.tobytes() == told[0]

    @invariant()
    def the_canvas_shows_what_stands(self):
        if hasattr(self, "model"):
            session, model = self.session, self.model
            assert (session.mask.index, session.mask.masks.tobytes()) == (model.at, self.mask)
            if model.seen == model.masks:
                session.look(seconds=60)
                judgement = session.mask.judgement
                assert (judgement.status, judgement.who) == self.told.stands(self.mask)


def test_each_frame_of_a_cine_keeps_its_own_decision_whatever_is_undone(qapp, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))
    CineReading.scratch = tmp_path

    run_state_machine_as_test(
        CineReading,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=[*HealthCheck],
            phases=[phase for phase in Phase if SHRINKS or phase is not Phase.shrink],
        ),
    )
