"""Segment dock: nodes and malignancy of a frame, of a cine, or of all selected layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtWidgets import QApplication, QWidget

from ..._layers import image_of
from ...compat.window import plain_viewer
from ...errors import InputError
from ..common.actions import offer
from ..common.number_field import tell_refusals
from ..common.parts import OPEN_FIRST, DockBody, Listeners, MessageLine
from ..common.results import WatchedFrame
from ..common.workplace import workplace_of
from .measures import Measuring
from .session import SegmentSession
from .view import SegmentView

if TYPE_CHECKING:
    import napari


class SegmentDock(QWidget):
    """Dock that runs the Y-Net.

    Attributes
    ----------
    session : SegmentSession
        The runs; it needs no window.
    measuring : Measuring
        Radiomics and contrast agent of what is outlined.
    view : SegmentView
        The fields and buttons.
    message : MessageLine
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = plain_viewer(napari_viewer)
        self.message = MessageLine()
        self.session = SegmentSession(self.viewer, self)
        self.measuring = Measuring(self.viewer, self)
        self.view = SegmentView(lambda: self.session.images)
        self._shown: WatchedFrame | None = None
        body = DockBody(self, self.viewer, self.view, self.message)
        body.dressed.connect(self.view.wear)
        body.dress()
        self._connect()
        self.session.choose_model(self.view.model.value)
        self.reset_choices()

    def reset_choices(self, _event: Any = None) -> None:
        """List the Image layers again; napari calls it when layers come, go or get a new name."""
        self.view.image.reset_choices()
        self.session.image = self.view.image.value
        if self.session.image is None and not self.message.text():
            self.message.say(OPEN_FIRST, about=OPEN_FIRST)
        self._show()

    def segment_frame(self) -> None:
        """Segment the frame in view."""
        self._with_cutoff(self.session.segment_frame)

    def segment_all(self) -> None:
        """Segment every frame of the chosen image."""
        self._with_cutoff(self.session.segment_all)

    def segment_selected(self) -> None:
        """Segment every frame of every selected Image layer."""
        self._with_cutoff(self.session.segment_selected)

    def copy_sentences(self) -> None:
        """Copy a sentence on each node of the frame in view, for the text of a report."""
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText("\n".join(self.session.sentences))

    def measure_radiomics(self) -> None:
        """Measure the nodes that are outlined on the frame in view."""
        self.measuring.radiomics(self.session.image, self.session.index)

    def measure_perfusion(self) -> None:
        """Follow how a contrast agent washes into what is outlined on the frame in view."""
        try:
            dynamic_range_db = self.view.measures.dynamic_range.number()
        except InputError as error:
            self.message.say(str(error), "bad", about=self.view.measures)
        else:
            self.measuring.perfusion(self.session.image, self.session.index, dynamic_range_db)

    def _with_cutoff(self, deed: Callable[[], None]) -> None:
        """Do something that needs the cutoff as it stands in its field, finished or not."""
        try:
            self.session.set_cutoff(self.view.cutoff.number())
        except InputError as error:
            self.message.say(str(error), "bad", about=self.view.cutoff)
        else:
            deed()

    def _show(self, _event: Any = None) -> None:
        """Bring the view in line with the session."""
        image = self.session.image
        shown = self._shown
        if shown is None or image is not shown.image or shown.fault:  # what was said of it is over
            self.message.forget(None if shown is None else shown.image)
            self._shown = None if image is None else WatchedFrame(self.viewer, image)
        if image is not None:
            self.message.forget(OPEN_FIRST)
        self.view.show_state(self.session.state)
        measures = self.measuring.found(image, self.session.index)
        is_cine = image is not None and image.ndim == 3
        self.view.measures.show_measures(measures, is_cine=is_cine, is_busy=self.measuring.is_busy)

    def _follow_selection(self, _event: Any = None) -> None:
        """Choose the image that is clicked in the list of layers, or whose mask is."""
        active = self.viewer.layers.selection.active
        if isinstance(active, Labels) and not self.session.is_running:  # a run selects what it writes
            active = image_of(active, self.viewer.layers)
        if isinstance(active, Image) and active in self.view.image.choices:
            self.view.image.value = active

    def _connect(self) -> None:
        view, session, dims = self.view, self.session, self.viewer.dims
        for button, action in (
            (view.run_frame, self.segment_frame),
            (view.run_all, self.segment_all),
            (view.run_selected, self.segment_selected),
            (view.stop, session.cancel),
            (view.score_map, session.explain_frame),
            (view.verdict.copy, self.copy_sentences),
            (view.measures.radiomics, self.measure_radiomics),
            (view.measures.perfusion, self.measure_perfusion),
        ):
            button.clicked.connect(lambda _checked=False, action=action: action())
        view.image.changed.connect(session.choose_image)
        view.model.changed.connect(lambda: session.choose_model(view.model.value))
        view.model.failed.connect(lambda reason: self.message.say(reason, "bad"))
        view.device.currentIndexChanged.connect(
            lambda _: setattr(session, "device", view.device.currentData())
        )
        view.cutoff.valueChanged.connect(session.set_cutoff)
        tell_refusals(view, self.message)
        view.verdict.frame_chosen.connect(lambda i: dims.set_current_step(dims.ndim - 3, i))
        session.changed.connect(self._show)
        session.stepped.connect(view.show_progress)
        for part in (session, self.measuring):
            part.told.connect(self.message.say)
        self.measuring.changed.connect(self._show)
        view.measures.saved.connect(self.measuring.save)
        workplace_of(self.viewer).model_changed.connect(view.model.take_promotion)
        listeners = Listeners(self)
        listeners.listen(dims.events.current_step, self._show)
        listeners.listen(self.viewer.layers.events, session.notice)
        listeners.listen(self.viewer.layers.selection.events.active, self._follow_selection)
        title = "Segment this frame"
        offer(self, self.viewer, "segment_frame", title, "Shift-S", self.segment_frame, view.run_frame)
