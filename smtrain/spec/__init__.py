"""The intermediate representation: what each pass hands to the next.

`Run` is what the user said, `Job` what follows from it, `Program` what to execute in symbols, `Bundle` what to send in
bytes, `Receipt` what came back. All of it is frozen plain data.
"""

from __future__ import annotations

from smtrain.spec.bundle import RUN_ID, Action, ApiCall, Bundle, BundleFile, Cost, Exec, Expect, HandOver, Probe, Upload
from smtrain.spec.job import Batch, Dataset, Job, LocalFile, ModelSource, ResolvedModel, RowShape, Topology
from smtrain.spec.json import Json
from smtrain.spec.program import (
    Concat,
    EnvVar,
    Footprint,
    Input,
    InputPath,
    MetricPattern,
    Needs,
    Output,
    OutputKind,
    Package,
    Program,
    Progress,
    Resume,
    RuntimeVar,
    Saves,
    Scope,
    Staging,
    Step,
    TextFile,
    Word,
)
from smtrain.spec.receipt import LogLine, Receipt, State
from smtrain.spec.run import Run, Selected

__all__ = [
    "RUN_ID",
    "Action",
    "ApiCall",
    "Batch",
    "Bundle",
    "BundleFile",
    "Concat",
    "Cost",
    "Dataset",
    "EnvVar",
    "Exec",
    "Expect",
    "Footprint",
    "HandOver",
    "Input",
    "InputPath",
    "Job",
    "Json",
    "LocalFile",
    "LogLine",
    "MetricPattern",
    "ModelSource",
    "Needs",
    "Output",
    "OutputKind",
    "Package",
    "Probe",
    "Program",
    "Progress",
    "Receipt",
    "ResolvedModel",
    "Resume",
    "RowShape",
    "Run",
    "RuntimeVar",
    "Saves",
    "Scope",
    "Selected",
    "Staging",
    "State",
    "Step",
    "TextFile",
    "Topology",
    "Upload",
    "Word",
]
