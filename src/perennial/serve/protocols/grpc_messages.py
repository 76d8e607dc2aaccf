"""The messages of the Open Inference Protocol's gRPC service, made from a table of their fields.

Names and numbers of the fields are the protocol's (package `inference`, service `GRPCInferenceService`); the statistics
and the index of models are those of its extensions, as Triton's clients ask for them. They live in a
pool of their own, so that a process may hold a client's generated classes of the same names as well.
"""

from __future__ import annotations

from typing import Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["CONTENTS", "METHODS", "SERVICE", "message"]

SERVICE = "inference.GRPCInferenceService"
METHODS = (
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelStatistics",
    "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload",
)  # fmt: skip

# Which field of InferTensorContents holds which datatypes; FP16 and BF16 travel raw alone.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

# "field: type number", `*` is repeated, `{}` a map from text, `|` one of several. Types are protobuf's or a message's.
_MODEL = "name: string 1, version: string 2"
_TENSOR = "name: string 1, datatype: string 2, shape: int64* 3"
_FILLED = f"{_TENSOR}, parameters: InferParameter{{}} 4, contents: InferTensorContents 5"
_MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live: bool 1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready: bool 1",
    "ModelReadyRequest": _MODEL,
    "ModelReadyResponse": "ready: bool 1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": f"{_MODEL}, extensions: string* 3",
    "ModelMetadataRequest": _MODEL,
    "ModelMetadataResponse": "name: string 1, versions: string* 2, platform: string 3,"
    " inputs: ModelMetadataResponse.TensorMetadata* 4, outputs: ModelMetadataResponse.TensorMetadata* 5",
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": "bool_param: bool| 1, int64_param: int64| 2, string_param: string| 3, double_param: double| 4,"
    " uint64_param: uint64| 5",
    "InferTensorContents": "bool_contents: bool* 1, int_contents: int32* 2, int64_contents: int64* 3,"
    " uint_contents: uint32* 4, uint64_contents: uint64* 5, fp32_contents: float* 6, fp64_contents: double* 7,"
    " bytes_contents: bytes* 8",
    "ModelInferRequest": "model_name: string 1, model_version: string 2, id: string 3, parameters: InferParameter{} 4,"
    " inputs: ModelInferRequest.InferInputTensor* 5, outputs: ModelInferRequest.InferRequestedOutputTensor* 6,"
    " raw_input_contents: bytes* 7",
    "ModelInferRequest.InferInputTensor": _FILLED,
    "ModelInferRequest.InferRequestedOutputTensor": "name: string 1, parameters: InferParameter{} 2",
    "ModelInferResponse": "model_name: string 1, model_version: string 2, id: string 3,"
    " parameters: InferParameter{} 4, outputs: ModelInferResponse.InferOutputTensor* 5, raw_output_contents: bytes* 6",
    "ModelInferResponse.InferOutputTensor": _FILLED,
    "ModelStatisticsRequest": _MODEL,
    "ModelStatisticsResponse": "model_stats: ModelStatistics* 1",
    "ModelStatistics": f"{_MODEL}, last_inference: uint64 3, inference_count: uint64 4, execution_count: uint64 5,"
    " inference_stats: InferStatistics 6",
    "InferStatistics": "success: StatisticDuration 1, fail: StatisticDuration 2, queue: StatisticDuration 3,"
    " compute_input: StatisticDuration 4, compute_infer: StatisticDuration 5, compute_output: StatisticDuration 6",
    "StatisticDuration": "count: uint64 1, ns: uint64 2",
    "RepositoryIndexRequest": "repository_name: string 1, ready: bool 2",
    "RepositoryIndexResponse": "models: RepositoryIndexResponse.ModelIndex* 1",
    "RepositoryIndexResponse.ModelIndex": f"{_MODEL}, state: string 3, reason: string 4",
    "RepositoryModelLoadRequest": "repository_name: string 1, model_name: string 2",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "repository_name: string 1, model_name: string 2",
    "RepositoryModelUnloadResponse": "",
}
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL, "int32": _Field.TYPE_INT32, "int64": _Field.TYPE_INT64, "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64, "float": _Field.TYPE_FLOAT, "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES,
}  # fmt: skip


def message(name: str) -> Any:
    """The class of a message, as `ModelInferRequest`; those inside another are its attributes."""
    return _classes[f"inference.{name}"]


def _made() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="perennial/inference.proto", package="inference", syntax="proto3")
    made: dict[str, Any] = {}
    for name, fields in _MESSAGES.items():
        outer, _, inner = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=inner)
        for said in filter(None, fields.split(", ")):
            _add(made[name], f".inference.{name}", said)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return cast("dict[str, Any]", message_factory.GetMessageClassesForFiles([file.name], pool))


def _add(owner: Any, full_name: str, said: str) -> None:
    name, kind, number = said.replace(":", "").split()
    field = owner.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL, json_name=name)
    if kind.endswith("|"):
        if not owner.oneof_decl:
            owner.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind.endswith(("*", "{}")):
        field.label = _Field.LABEL_REPEATED
    if kind.endswith("{}"):  # a map is a list of entries of a type of its own
        entry = owner.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add(entry, "", "key: string 1")
        _add(entry, "", f"value: {kind[:-2]} 2")
        field.type, field.type_name = _Field.TYPE_MESSAGE, f"{full_name}.{entry.name}"
        return
    kind = kind.rstrip("*|")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".inference.{kind}"


_classes = _made()
