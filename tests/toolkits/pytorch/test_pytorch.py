from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from networks import Branching, Images, Nameless, Wage
from torch import nn

from perennial.errors import Corrupt, DataError
from perennial.models.flavors import flavor_of
from perennial.models.flavors.flavor import Answered, Saved
from perennial.models.flavors.pytorch import PyTorch
from perennial.models.preparation import Preparation, learn
from perennial.models.signature import Signature

HERE = Path(__file__).parent
AGAIN = """
import sys, json
from pathlib import Path
import msgspec, polars as pl
sys.path.insert(0, sys.argv[2])
from perennial.models.flavors import flavor_named
from perennial.models.signature import Signature
folder = Path(sys.argv[1])
told = json.loads((folder / "told.json").read_text())
signature = msgspec.json.decode((folder / "signature.json").read_bytes(), type=Signature)
scorer = flavor_named("pytorch").load(folder, told["format"], told["options"], signature)
found = scorer.answer(pl.read_ipc(folder / "x.arrow"))
values = found.probabilities if found.values is None else found.values
print(json.dumps({"answers": values.tolist(), "networks": "networks" in sys.modules}))
"""


def prepared(frame: pl.DataFrame, target: str, **options: Any) -> Preparation:
    return learn(frame.to_arrow(), target=target, **options)


def labels(frame: pl.DataFrame, target: str) -> torch.Tensor:
    return torch.from_numpy(np.unique(frame[target].to_numpy(), return_inverse=True)[1])


def matrix(x: pl.DataFrame) -> torch.Tensor:
    return torch.from_numpy(x.to_numpy().astype(np.float32))


def told(found: Answered) -> np.ndarray[Any, Any]:
    answer = found.probabilities if found.values is None else found.values
    assert answer is not None
    return answer


def answers_again(
    tmp_path: Path, saved: Saved, options: Mapping[str, Any], signature: Signature, x: pl.DataFrame
) -> tuple[np.ndarray[Any, Any], bool]:
    """What a new process answers that loads these files, and whether it needed the user's module."""
    import msgspec

    for name, data in saved.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "told.json").write_text(json.dumps({"format": saved.format, "options": {**options, **saved.options}}))
    (tmp_path / "signature.json").write_bytes(msgspec.json.encode(signature))
    x.write_ipc(tmp_path / "x.arrow")
    command = [sys.executable, "-W", "error", "-c", AGAIN, str(tmp_path), str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return np.array(found["answers"]), found["networks"]


@pytest.fixture(scope="module")
def images(digits: pl.DataFrame, fitted: Any) -> tuple[Images, Preparation, pl.DataFrame]:
    torch.manual_seed(1)
    preparation = prepared(digits, "digit")
    x = preparation.columns(preparation.raw(digits.to_arrow()))
    pixels = torch.tensor(x["pixels"].to_list())
    network = fitted(Images(), pixels[:1200], labels(digits, "digit")[:1200], nn.functional.cross_entropy, steps=40)
    return network, preparation, x


def test_a_network_of_images_is_stored_without_code_and_answers_the_same_in_a_new_process(
    images: tuple[Images, Preparation, pl.DataFrame], digits: pl.DataFrame, tmp_path: Path
) -> None:
    network, preparation, x = images
    flavor = flavor_of(network)
    assert isinstance(flavor, PyTorch)
    scorer = flavor.scorer(network, preparation.signature, x)
    assert scorer.options == {"mode": "tensor", "names": ["pixels"], "dtype": "float32", "answers": "logits"}
    found = told(scorer.answer(x))
    assert np.allclose(found.sum(axis=1), 1.0)
    right = np.array(preparation.signature.classes)[found.argmax(axis=1)] == digits["digit"].to_numpy()
    assert right[1200:].mean() > 0.9
    saved = flavor.save(network, preparation.signature)
    assert saved.format == "graph"
    assert not flavor.formats["graph"].runs_code
    again, needed_code = answers_again(tmp_path, saved, scorer.options, preparation.signature, x)
    assert not needed_code
    np.testing.assert_allclose(again, found, rtol=1e-5, atol=1e-7)


def test_the_same_network_has_the_same_bytes(images: tuple[Images, Preparation, pl.DataFrame]) -> None:
    network, preparation, _ = images
    first = PyTorch().save(network, preparation.signature)
    for _ in range(3):
        assert PyTorch().save(network, preparation.signature).files == first.files


def test_dropout_and_batch_norm_are_asked_in_evaluation_mode(
    images: tuple[Images, Preparation, pl.DataFrame],
) -> None:
    network, preparation, x = images
    network.train()
    scorer = PyTorch().scorer(network, preparation.signature, x)
    assert np.array_equal(told(scorer.answer(x)), told(scorer.answer(x)))
    assert np.allclose(told(scorer.answer(x[:1])), told(scorer.answer(x))[:1], rtol=1e-4)


def test_columns_by_name_with_categories_as_codes_and_a_missing_one_answer_a_regression(
    wages: pl.DataFrame, fitted: Any, tmp_path: Path
) -> None:
    some = wages.with_columns(occupation=pl.when(pl.int_range(pl.len()) % 50 != 0).then("occupation"))
    preparation = prepared(some, "wage")
    x = preparation.columns(preparation.raw(some.to_arrow()))
    known = preparation.signature.columns[2].categories or []
    inputs = {
        "education": torch.tensor(x["education"].to_list()),
        "experience": torch.tensor(x["experience"].to_list()),
        "occupation": torch.tensor(x["occupation"].to_physical().cast(pl.Int64()).fill_null(len(known)).to_list()),
    }
    wage = torch.tensor(some["wage"].to_list())
    torch.manual_seed(2)
    network = fitted(Wage(len(known)), inputs, wage, nn.functional.mse_loss, steps=300)
    scorer = PyTorch().scorer(network, preparation.signature, x)
    assert scorer.options["mode"] == "named"
    assert scorer.options["answers"] == "numbers"
    found = told(scorer.answer(x))
    with torch.no_grad():
        np.testing.assert_allclose(found, network.eval()(**inputs).numpy(), rtol=1e-6)
    assert np.corrcoef(found, some["wage"].to_numpy())[0, 1] > 0.45
    saved = PyTorch().save(network, preparation.signature)
    assert saved.format == "graph"
    again, needed_code = answers_again(tmp_path, saved, scorer.options, preparation.signature, x)
    assert not needed_code
    np.testing.assert_allclose(again, found, rtol=1e-5)


def test_a_network_that_is_no_graph_is_stored_as_weights_with_its_class_in_the_users_code(
    flat_digits: pl.DataFrame, fitted: Any, tmp_path: Path
) -> None:
    preparation = prepared(flat_digits, "digit")
    x = preparation.columns(preparation.raw(flat_digits.to_arrow()))
    network = fitted(Branching(), matrix(x), labels(flat_digits, "digit"), nn.functional.cross_entropy, steps=60)
    scorer = PyTorch().scorer(network, preparation.signature, x)
    saved = PyTorch().save(network, preparation.signature)
    assert saved.format == "state"
    assert PyTorch.formats["state"].runs_code
    assert saved.options["class"] == "networks:Branching"
    assert "GuardOnDataDependent" in str(saved.options["not_exported"]) or "branch" in str(saved.options)
    again, needed_code = answers_again(tmp_path, saved, scorer.options, preparation.signature, x)
    assert needed_code
    np.testing.assert_allclose(again, told(scorer.answer(x)), rtol=1e-5, atol=1e-7)


def test_what_is_neither_is_pickled_and_marked_as_code(flat_digits: pl.DataFrame, tmp_path: Path) -> None:
    preparation = prepared(flat_digits, "digit")
    x = preparation.columns(preparation.raw(flat_digits.to_arrow()))
    torch.manual_seed(3)
    network = Nameless(nn.Linear(64, 64))
    scorer = PyTorch().scorer(network, preparation.signature, x)
    saved = PyTorch().save(network, preparation.signature)
    assert saved.format == "pickle"
    assert PyTorch.formats["pickle"].runs_code
    assert saved.mlflow["pytorch"] == {"model_data": "model", "pytorch_version": torch.__version__, "code": "code"}
    again, needed_code = answers_again(tmp_path, saved, scorer.options, preparation.signature, x)
    assert needed_code
    np.testing.assert_allclose(again, told(scorer.answer(x)), rtol=1e-5, atol=1e-7)


def test_probabilities_and_logits_are_told_apart(flat_digits: pl.DataFrame) -> None:
    preparation = prepared(flat_digits, "digit")
    x = preparation.columns(preparation.raw(flat_digits.to_arrow()))
    torch.manual_seed(4)
    plain = nn.Sequential(nn.Linear(64, 10))
    for last, says in ((nn.Softmax(1), "probabilities"), (nn.Identity(), "logits"), (nn.LogSoftmax(1), "logits")):
        scorer = PyTorch().scorer(nn.Sequential(plain, last), preparation.signature, x)
        assert scorer.options["answers"] == says
        with torch.no_grad():
            np.testing.assert_allclose(
                told(scorer.answer(x)), plain(matrix(x)).softmax(1).numpy(), rtol=1e-4, atol=1e-7
            )


def test_two_classes_may_share_one_output(wages: pl.DataFrame) -> None:
    frame = wages.select("education", "experience", is_high=pl.col("wage") > 9)
    preparation = prepared(frame, "is_high")
    x = preparation.columns(preparation.raw(frame.to_arrow()))
    torch.manual_seed(5)
    plain = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Linear(2, 1))
    plain.train()(matrix(x))
    wanted = torch.sigmoid(plain.eval()(matrix(x))).detach().numpy()[:, 0]
    for network, says in (
        (plain, "logits"),
        (nn.Sequential(plain, nn.Sigmoid()), "probabilities"),
        (nn.Sequential(plain, nn.Sigmoid(), nn.Flatten(0)), "probabilities"),
    ):
        scorer = PyTorch().scorer(network, preparation.signature, x)
        assert scorer.options["answers"] == says
        np.testing.assert_allclose(told(scorer.answer(x))[:, 1], wanted, rtol=1e-5)
    with pytest.raises(DataError, match="do not tell whether they are probabilities"):
        PyTorch().scorer(nn.Sequential(plain, nn.Sigmoid()), preparation.signature, x[:5])
    declared = nn.Sequential(plain, nn.Sigmoid())
    declared.answers = "probabilities"  # pyright: ignore[reportAttributeAccessIssue]  # the user's own word
    assert PyTorch().scorer(declared, preparation.signature, x[:5]).options["answers"] == "probabilities"


def test_missing_numbers_come_as_nan_and_yes_and_no_as_one_and_zero(wages: pl.DataFrame) -> None:
    frame = wages.select(
        education=pl.when(pl.col("education") > 8).then("education"), is_old=pl.col("experience") > 20, wage="wage"
    )
    preparation = prepared(frame, "wage")
    x = preparation.columns(preparation.raw(frame.to_arrow()))

    class Sum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nan_to_num(x, nan=-1.0).sum(1, keepdim=True)

    found = told(PyTorch().scorer(Sum(), preparation.signature, x).answer(x))
    wanted = frame["education"].fill_null(-1.0) + frame["is_old"].cast(pl.Float64())
    assert found.tolist() == wanted.to_list()


def test_a_network_of_doubles_counts_in_doubles(wages: pl.DataFrame) -> None:
    frame = wages.select("education", "experience", "wage")
    preparation = prepared(frame, "wage")
    x = preparation.columns(preparation.raw(frame.to_arrow()))
    network = nn.Linear(2, 1).double()
    scorer = PyTorch().scorer(network, preparation.signature, x)
    assert scorer.relative == 1e-9
    wanted = x.to_numpy() @ network.weight.detach().numpy()[0] + network.bias.detach().numpy()
    np.testing.assert_allclose(told(scorer.answer(x)), wanted, rtol=1e-12)


def test_a_network_of_the_wrong_shape_is_refused(wages: pl.DataFrame, flat_digits: pl.DataFrame) -> None:
    wage = prepared(wages.select("education", "wage"), "wage")
    x = wage.columns(wage.raw(wages.to_arrow()))
    with pytest.raises(DataError, match="answers rows x 3, not one number for each row"):
        PyTorch().scorer(nn.Linear(1, 3), wage.signature, x)
    digit = prepared(flat_digits, "digit")
    with pytest.raises(DataError, match="not a number for each of the 10 classes"):
        PyTorch().scorer(nn.Linear(64, 3), digit.signature, digit.columns(digit.raw(flat_digits.to_arrow())))


def test_open_text_and_times_are_refused_by_name(wages: pl.DataFrame) -> None:
    frame = wages.select("wage", note=pl.int_range(pl.len()).cast(pl.String()))
    preparation = learn(frame.to_arrow(), target="wage", categories=False)
    with pytest.raises(DataError, match="column 'note' holds string"):
        PyTorch().scorer(nn.Linear(1, 1), preparation.signature, preparation.columns(preparation.raw(frame.to_arrow())))


def test_curves_are_what_the_user_kept(images: tuple[Images, Preparation, pl.DataFrame]) -> None:
    network, _, _ = images
    curve = PyTorch().curves(network)["loss"]
    assert len(curve) == 40
    assert curve[-1] < curve[0]
    assert PyTorch().curves(nn.Linear(1, 1)) == {}


def test_an_exported_program_is_a_model_too(flat_digits: pl.DataFrame, tmp_path: Path) -> None:
    preparation = prepared(flat_digits, "digit")
    x = preparation.columns(preparation.raw(flat_digits.to_arrow()))
    network = nn.Sequential(nn.Linear(64, 10)).eval()
    free = ({0: torch.export.Dim("rows", min=1)},)
    program = torch.export.export(network, (matrix(x)[:5],), dynamic_shapes=free)
    assert isinstance(flavor_of(program), PyTorch)
    scorer = PyTorch().scorer(program, preparation.signature, x)
    saved = PyTorch().save(program, preparation.signature)
    assert saved.format == "graph"
    again, _ = answers_again(tmp_path, saved, scorer.options, preparation.signature, x)
    with torch.no_grad():
        np.testing.assert_allclose(again, network(matrix(x)).softmax(1).numpy(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["lstm", "gru", "transformer", "embedding", "groups", "upsampling"])
def test_usual_layers_are_stored_without_code(kind: str, digits: pl.DataFrame) -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kind = kind
            if kind in ("lstm", "gru"):
                self.layer = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](8, 8, batch_first=True)
            elif kind == "transformer":
                self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            elif kind == "embedding":
                self.layer = nn.Embedding(17, 4)
            elif kind == "groups":
                self.layer = nn.Sequential(nn.Conv1d(8, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.GELU())
            else:
                self.layer = nn.Upsample(scale_factor=2, mode="bilinear")
            self.last = nn.LazyLinear(10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if kind == "embedding":
                found = self.layer(
                    x.abs().clamp(0, 16).long()
                )  # random numbers, on which it is compared, are no pixels
            elif kind == "upsampling":
                found = self.layer(x.unsqueeze(1))
            else:
                found = self.layer(x)
            found = found[0] if kind in ("lstm", "gru") else found
            return self.last(found.flatten(1))

    torch.manual_seed(6)
    preparation = prepared(digits.with_columns(pixels="pixels"), "digit")
    network = Rows()
    x = preparation.columns(preparation.raw(digits.to_arrow()))
    PyTorch().scorer(network, preparation.signature, x[:20])
    saved = PyTorch().save(network, preparation.signature)
    assert saved.format == "graph", saved.options


def test_a_lightning_module_is_stored_without_code_and_without_its_trainer(wages: pl.DataFrame) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning's own imports
        import lightning

        class Line(lightning.LightningModule):
            def __init__(self, rate: float) -> None:
                super().__init__()
                self.save_hyperparameters()
                self.layer = nn.Linear(2, 1)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.layer(x / 10)

            def training_step(self, batch: Any, index: int) -> torch.Tensor:
                x, y = batch
                return nn.functional.mse_loss(self(x)[:, 0], y)

            def configure_optimizers(self) -> Any:
                return torch.optim.Adam(self.parameters(), lr=self.hparams["rate"])

        frame = wages.select("education", "experience", "wage")
        preparation = prepared(frame, "wage")
        x = preparation.columns(preparation.raw(frame.to_arrow()))
        data = torch.utils.data.TensorDataset(matrix(x), torch.tensor(frame["wage"].to_list()))
        network = Line(rate=0.05)
        trainer = lightning.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(network, torch.utils.data.DataLoader(data, batch_size=64))
    assert isinstance(flavor_of(network), PyTorch)
    scorer = PyTorch().scorer(network, preparation.signature, x)
    saved = PyTorch().save(network, preparation.signature)
    assert saved.format == "graph", saved.options
    assert np.isfinite(told(scorer.answer(x))).all()


def test_to_recognise_a_network_does_not_import_the_toolkit() -> None:
    code = (
        "import sys; from perennial.models.flavors.pytorch import PyTorch; "
        "assert not PyTorch().recognises(object()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# --- content that is not what it claims ---


def graph_bytes(steps: list[Any], output: Any = None) -> bytes:
    from safetensors.torch import save

    graph = {"tensors": [], "inputs": 1, "steps": steps, "output": output or {"node": 1}}
    metadata = {"graph": json.dumps(graph | {"format": "perennial.torch-graph/1"})}
    return save({"unused": torch.zeros(1)}, metadata=metadata)


HOSTILE: dict[str, list[Any]] = {
    "a file is opened": [["aten.from_file.default", ["/etc/hostname", False, 4], {}]],
    "a function of the library": [["torch.os.system", ["true"], {}]],
    "a module's function": [["posix.system", ["true"], {}]],
    "an operator's attribute": [["aten.add.__class__", [], {}]],
    "an attribute in the name": [["aten.add.Tensor.__init__", [], {}]],
    "memory that was not written": [["aten.empty.memory_format", [[4]], {}]],
    "memory out of bounds": [["aten.as_strided.default", [{"node": 0}, [9], [9]], {}]],
    "another name space": [["prims.add.default", [{"node": 0}, {"node": 0}], {}]],
    "a later step": [["aten.add.Tensor", [{"node": 5}, 1], {}]],
    "itself": [["aten.add.Tensor", [{"node": 1}, 1], {}]],
    "a step before the first": [["aten.add.Tensor", [{"node": -1}, 1], {}]],
    "an unknown kind of argument": [["aten.add.Tensor", [{"pickle": "gA=="}, 1], {}]],
    "a type that is no type": [["aten.to.dtype", [{"node": 0}, {"dtype": "load"}], {}]],
    "no list": [["aten.add.Tensor", "ab", {}]],
    "no step": [["aten.add.Tensor"]],
    "no name": [[["aten"], [], {}]],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_C08_a_graph_with_anything_else_than_known_operators_is_refused_before_it_runs(what: str) -> None:
    from perennial.models.flavors.torch_graph import read_graph

    with pytest.raises(Corrupt):
        read_graph(graph_bytes(HOSTILE[what]), "model.safetensors")


def test_an_allowed_graph_written_by_hand_runs() -> None:
    from perennial.models.flavors.torch_graph import read_graph

    graph = read_graph(graph_bytes([["aten.add.Tensor", [{"node": 0}, 1], {}]]), "model.safetensors")
    assert graph(torch.tensor([1.0, 2.0])).tolist() == [2.0, 3.0]


def test_C09_a_pickle_or_an_archive_that_claims_to_be_a_graph_is_refused_and_not_run(tmp_path: Path) -> None:
    import pickle

    signature = prepared(pl.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 4.0]}), "b").signature
    marker = tmp_path / "ran"

    class Runs:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(marker),))

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Runs()))
    for data in (pickle.dumps(Runs()), target.getvalue(), b"", b"\x00" * 8, (2**62).to_bytes(8, "little") + b"{}"):
        (tmp_path / "model.safetensors").write_bytes(data)
        with pytest.raises(Corrupt):
            PyTorch().load(tmp_path, "graph", {"dtype": "float32"}, signature)
    assert not marker.exists()


def test_C08_PyTorchs_own_file_of_a_program_does_run_code_which_is_why_it_is_not_stored(tmp_path: Path) -> None:
    """The fact behind the choice of the format: the sample inputs of a .pt2 are unpickled when it is loaded."""
    marker = tmp_path / "ran"

    class Runs:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(marker),))

    good, bad = tmp_path / "good.pt2", tmp_path / "bad.pt2"
    torch.export.save(torch.export.export(nn.Linear(2, 1), (torch.ones(3, 2),)), good)
    pickled = io.BytesIO()
    torch.save(Runs(), pickled)
    with zipfile.ZipFile(good) as read, zipfile.ZipFile(bad, "w", zipfile.ZIP_STORED) as written:
        for name in read.namelist():
            is_inputs = "sample_inputs" in name
            written.writestr(name, pickled.getvalue() if is_inputs else read.read(name))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.export.load(bad)
        except Exception:  # whatever PyTorch says after it ran the code
            assert marker.exists()
    assert marker.exists()
