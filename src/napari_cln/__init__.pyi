from .annotation import Annotation, Case, Node
from .batch.job import FrameResult
from .errors import (
    ClnError,
    DatasetError,
    DeviceError,
    ExportError,
    FrameReadError,
    PredictionError,
    RunError,
    SplitError,
    WeightsError,
)
from .folder.dataset import TrainingFolder
from .folder.formats.exchange import export_study, import_study
from .folder.health.check import check_study
from .folder.split.deal import Fold
from .imaging.calipers import Calipers
from .imaging.carrying import carry_masks, interpolate_masks
from .imaging.channels import despeckle
from .imaging.crosses import BurnedCalipers, find_calipers
from .imaging.editing import delete_node, fill_holes, keep_part, merge_nodes, smooth_node, split_node
from .imaging.elastogram import Elastogram, find_elastogram
from .imaging.measurement import Measurement, measure, measure_nodes
from .imaging.overlay import NodeFlow, find_flow
from .imaging.perfusion import TimeIntensity, WashIn, perfusion
from .imaging.preprocessing import Geometry, ModelInput, find_overlay, find_scan_area, prepare, restore
from .imaging.radiomics import Radiomics, radiomics
from .imaging.tracking import Track, track
from .io.sources import find_sources, open_source, read_frame, read_frames
from .network.ensemble import Ensemble
from .network.explanation import explain
from .network.inference import Segmenter, choose_device, segment, segment_batch
from .network.model import YNet, YNetConfig, YNetOutput
from .network.outline import outline_node
from .network.weights import list_models, load_model, save_model
from .phantom import simulate
from .server import serve
from .study.cases import CaseRow, read_rows
from .study.config import EvaluationSettings
from .study.evaluation import Evaluation, EvaluationConfig, evaluate
from .study.fusion import Fusion, fit_fusion, fuse, read_fusion
from .study.report import write_report
from .training.config import PretrainConfig, TrainConfig
from .training.run import train
from .types import ColourFlow, Estimate, Explanation, Frame, Prediction, PrepareConfig, Region
from .workflow.evaluate import EvaluationStep, evaluate_folder
from .workflow.pretrain import pretrain
from .workflow.promote import promote
from .workflow.pseudo import outline_calipers, pseudo_label
from .workflow.segment import segment_to_folder

__version__: str

__all__ = [
    "Annotation",
    "BurnedCalipers",
    "Calipers",
    "Case",
    "CaseRow",
    "ClnError",
    "ColourFlow",
    "DatasetError",
    "DeviceError",
    "Elastogram",
    "Ensemble",
    "Estimate",
    "Evaluation",
    "EvaluationConfig",
    "EvaluationSettings",
    "EvaluationStep",
    "Explanation",
    "ExportError",
    "Fold",
    "Frame",
    "FrameReadError",
    "FrameResult",
    "Fusion",
    "Geometry",
    "Measurement",
    "ModelInput",
    "Node",
    "NodeFlow",
    "Prediction",
    "PredictionError",
    "PrepareConfig",
    "PretrainConfig",
    "Radiomics",
    "Region",
    "RunError",
    "Segmenter",
    "SplitError",
    "TimeIntensity",
    "Track",
    "TrainConfig",
    "TrainingFolder",
    "WashIn",
    "WeightsError",
    "YNet",
    "YNetConfig",
    "YNetOutput",
    "carry_masks",
    "check_study",
    "choose_device",
    "delete_node",
    "despeckle",
    "evaluate",
    "evaluate_folder",
    "explain",
    "export_study",
    "fill_holes",
    "find_calipers",
    "find_elastogram",
    "find_flow",
    "find_overlay",
    "find_scan_area",
    "find_sources",
    "fit_fusion",
    "fuse",
    "import_study",
    "interpolate_masks",
    "keep_part",
    "list_models",
    "load_model",
    "measure",
    "measure_nodes",
    "merge_nodes",
    "open_source",
    "outline_calipers",
    "outline_node",
    "perfusion",
    "prepare",
    "pretrain",
    "promote",
    "pseudo_label",
    "radiomics",
    "read_frame",
    "read_frames",
    "read_fusion",
    "read_rows",
    "restore",
    "save_model",
    "segment",
    "segment_batch",
    "segment_to_folder",
    "serve",
    "simulate",
    "smooth_node",
    "split_node",
    "track",
    "train",
    "write_report",
]
