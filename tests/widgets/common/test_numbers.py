"""Number fields: typed with a point or a comma, by real keys, on an English and on a German desktop."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cln.errors import InputError
from napari_cln.widgets.common.number_field import NumberField, check_numbers
from napari_cln.widgets.correct.dock import CorrectDock
from napari_cln.widgets.evaluate.dock import EvaluateDock
from napari_cln.widgets.segment.dock import SegmentDock
from napari_cln.widgets.train.dock import TrainDock

TYPE_INTO_EVERY_FIELD = """
import json
import napari
import numpy as np
from qtpy.QtCore import QLocale, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDoubleSpinBox, QSpinBox
from napari_cln.widgets.common.number_field import NumberField

def retype(field, text):
    line = field.lineEdit()
    line.setFocus()
    line.selectAll()
    QTest.keyClicks(line, text)
    QTest.keyClick(line, Qt.Key.Key_Return)
    return field.value()

def inside(field, sign):
    low, high = field.minimum(), field.maximum()
    if field.whole:
        return f"{low}", low
    value = round(low + (high - low) / 3, 4) if high - low < 100 else 12.5
    return f"{value}".replace(".", sign), value

viewer = napari.Viewer(show=False)
viewer.add_image(np.zeros((3, 60, 80), np.uint8))
told = {"decimal sign": QLocale().decimalPoint(), "fields": {}, "spin boxes": 0}
for name in ("Segment", "Correct", "Train", "Evaluate"):
    dock = viewer.window.add_plugin_dock_widget("napari-cln", name)[1]
    QTest.qWait(50)  # the dock finds the frame in view
    told["spin boxes"] += len(dock.findChildren(QSpinBox)) + len(dock.findChildren(QDoubleSpinBox))
    for field in dock.findChildren(NumberField):
        answers = []
        for sign in ".,":
            text, right = inside(field, sign)
            answers.append(retype(field, text) == right and not field.is_refused)
        kept = field.value()
        for wrong in ("1.234,5", "1 000", "12a", str(field.maximum() * 10 + 1)):
            answers.append(retype(field, wrong) == kept and field.is_refused)
            answers.append(field.title in dock.message.text())
        text, right = inside(field, ",")
        answers.append(retype(field, text) == right and not field.is_refused and not dock.message.text())
        told["fields"][f"{name}: {field.title}"] = answers
print(json.dumps(told))
viewer.close()
"""


@pytest.mark.parametrize(("language", "sign"), [("C.UTF-8", "."), ("de_DE.UTF-8", ",")])
def test_every_field_of_every_dock_takes_both_signs_and_refuses_what_is_no_number(language, sign, models):
    environment = dict(os.environ) | {"LANG": language, "LC_ALL": language, "NAPARI_CLN_MODELS": str(models)}
    done = subprocess.run(
        [sys.executable, "-c", TYPE_INTO_EVERY_FIELD],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])

    assert told["decimal sign"] == sign
    assert told["spin boxes"] == 0
    assert len(told["fields"]) == 19
    assert {name: answers for name, answers in told["fields"].items() if not all(answers)} == {}


@pytest.fixture
def field(qtbot):
    field = NumberField(title="Length", limits=(-1e6, 1e6), value=7, suffix=" mm")
    qtbot.addWidget(field)
    return field


def retype(field: NumberField, text: str) -> None:
    field.lineEdit().selectAll()
    QTest.keyClick(field.lineEdit(), Qt.Key.Key_Delete)
    QTest.keyClicks(field.lineEdit(), text)
    QTest.keyClick(field.lineEdit(), Qt.Key.Key_Return)


ONCE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ONCE
@given(number=st.floats(-1e6, 1e6, allow_nan=False), sign=st.sampled_from(".,"))
def test_what_is_typed_is_the_value_and_what_is_shown_reads_back(field, number, sign):
    retype(field, f"{number:.6f}".replace(".", sign))

    assert field.value() == float(f"{number:.6f}")
    shown = field.lineEdit().text()
    retype(field, shown)
    assert field.value() == float(f"{number:.6f}")
    assert field.lineEdit().text() == shown


@ONCE
@given(text=st.text(st.sampled_from("0123456789.,+-eE' _x"), max_size=8))
def test_a_text_is_the_number_it_says_or_is_refused(field, text):
    field.setValue(7)

    retype(field, text)

    try:
        said = float(text.strip().replace(",", ".")) if "_" not in text else None
    except ValueError:
        said = None
    if field.is_refused:
        assert field.value() == 7
        assert field.lineEdit().text() == text
    else:
        assert said is not None
        assert field.value() == said


class TestRefusals:
    def test_a_refused_text_stays_marked_with_its_reason_until_a_number_comes(self, field):
        retype(field, "1.000,5")
        assert "not one number" in field.toolTip()
        assert "border" in field.styleSheet()
        with pytest.raises(InputError, match=r"Length: '1\.000,5' is not one number"):
            field.number()

        retype(field, "9")
        assert (field.number(), field.toolTip(), field.styleSheet()) == (9, "", "")

    def test_escape_brings_the_number_back(self, field):
        retype(field, "x")

        QTest.keyClick(field.lineEdit(), Qt.Key.Key_Escape)

        assert (field.lineEdit().text(), field.number()) == ("7 mm", 7)

    def test_out_of_range_is_refused_with_the_limits_and_never_clamped(self, field):
        field.setRange(0.1, 500)

        retype(field, "900")

        assert field.value() == 7
        with pytest.raises(InputError, match=r"900 is out of range\. Give 0\.1 to 500 mm\."):
            field.number()

    def test_what_was_not_finished_counts_when_an_action_asks(self, field):
        field.lineEdit().selectAll()
        QTest.keyClicks(field.lineEdit(), "12,5")

        assert field.value() == 7
        assert field.number() == 12.5

    def test_a_whole_field_takes_no_half(self, qtbot):
        field = NumberField(title="Epochs", limits=(1, 10), value=3, whole=True)
        qtbot.addWidget(field)

        retype(field, "2,5")
        assert (field.is_refused, field.value()) == (True, 3)
        retype(field, "1e1")
        assert (field.is_refused, field.value()) == (False, 10)

    def test_an_empty_field_is_none_only_where_that_means_something(self, qtbot, field):
        free = NumberField(none="not given", limits=(0, 1))
        qtbot.addWidget(free)
        assert free.number() is None

        retype(field, "")
        assert (field.is_refused, field.value()) == (True, 7)

    def test_arrows_step_exactly_and_stop_before_the_limits(self, qtbot):
        field = NumberField(limits=(0, 0.35), value=0.1, step=0.1)
        qtbot.addWidget(field)
        for _ in range(4):
            QTest.keyClick(field, Qt.Key.Key_Up)

        assert field.value() == 0.3

    def test_the_wheel_changes_nothing(self, qtbot, field):
        at = QPointF(5, 5)
        turn = QWheelEvent(
            at,
            at,
            QPoint(0, 0),
            QPoint(0, 120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(field, turn)

        assert field.value() == 7


class TestActions:
    """What needs a number is refused with it."""

    @pytest.fixture
    def viewer(self, make_napari_viewer, small_model):
        return make_napari_viewer()

    def test_a_scale_is_not_set(self, viewer, open_image, data):
        dock = CorrectDock(viewer)
        image = open_image(viewer, data / "usgra" / "test_0009.png")
        dock.scale.start(image, 0)
        viewer.layers.selection.active.add_lines([[100, 200], [200, 200]])
        retype(dock.view.scale.length, "1.000,0")

        dock.scale.apply(image, dock.view.scale.length)

        assert tuple(image.scale) == (1, 1)
        assert "not one number" in dock.message.text()

    def test_no_frame_is_segmented(self, viewer, open_image, data):
        _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Segment")
        open_image(viewer, data / "usgra" / "test_0009.png")
        retype(dock.view.cutoff, "9")

        dock.segment_frame()

        assert not dock.session.is_running
        assert dock.message.text() == "Cutoff: 9 is out of range. Give 0 to 1."

    def test_the_cutoff_that_was_typed_stays_while_the_models_are_listed_anew(self, viewer):
        dock = SegmentDock(viewer)
        retype(dock.view.cutoff, "0,3")

        dock.view.model.refresh()

        assert dock.view.cutoff.value() == 0.3

    @pytest.mark.parametrize(
        ("kind", "start"), [(EvaluateDock, "start_evaluation"), (TrainDock, "start_run")]
    )
    def test_no_process_is_started(self, viewer, tmp_path, kind, start):
        dock = kind(viewer)
        dock.view.folder.choose(tmp_path / "study")
        for field in dock.findChildren(NumberField)[-1:]:
            retype(field, "many")

        getattr(dock, start)()

        assert "'many' is not one number" in dock.message.text()
        assert not any(tmp_path.iterdir())
        with pytest.raises(InputError):
            check_numbers(dock)
