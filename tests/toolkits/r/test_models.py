"""Models of R: fitted from a script, asked in an R process, with every form of answer that the contract names."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import lzma
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from perennial.errors import ConfigError, Corrupt, DataError, Refused, UserCodeError
from perennial.models.build import build
from perennial.models.flavors import flavor_named, flavor_of
from perennial.models.flavors.r import R, RModel, RScorer, read_mlflow, read_rds
from perennial.models.package import Predictor, checkout, read_manifest
from perennial.models.preparation import learn
from perennial.models.signature import Field, Signature
from perennial.store.objects import ObjectStore

MINCER = """
fit <- function(X, y) {
  cat("fitting on", nrow(X), "rows\\n")
  lm(y ~ experience + I(experience^2) + education + ethnicity, data = cbind(X, y = log(y)))
}
"""
WITH_REGION = "fit <- function(X, y) lm(y ~ ., data = cbind(X, y = y))"
Made = Callable[..., RModel]


def signature_of(x: pl.DataFrame, classes: list[Any] | None = None) -> Signature:
    return Signature(
        inputs=[],
        columns=[Field(name=name, type="float64") for name in x.columns],
        output=Field(name="y", type="float64" if classes is None else "string"),
        task="regression" if classes is None else "classification",
        classes=classes,
    )


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Fit with a script given as text."""

    def fit(script: str, x: Any, y: Any, **params: Any) -> RModel:
        path = tmp_path / "train.R"
        path.write_text(script)
        return RModel.fit(path, x, y, **params)

    return fit


@pytest.fixture
def opened() -> Iterator[Callable[..., RScorer]]:
    """Scorers that end with the test."""
    scorers: list[RScorer] = []

    def open_scorer(model: RModel, x: pl.DataFrame, classes: list[Any] | None = None) -> RScorer:
        scorers.append(R().scorer(model, signature_of(x, classes), x))
        return scorers[-1]

    yield open_scorer
    for scorer in scorers:
        scorer.close()


@pytest.fixture(scope="module")
def wages(shared_data: Path) -> pl.DataFrame:
    frame = pl.read_csv(shared_data / "cps_wages" / "cps1988.csv.gz", infer_schema_length=None).drop("rownames")
    return frame.with_columns(pl.col("education", "experience").cast(pl.Float64()))


@pytest.fixture(scope="module")
def flowers() -> tuple[pl.DataFrame, pl.Series]:
    found = load_iris()
    frame = pl.DataFrame(found.data, schema=["sl", "sw", "pl", "pw"])
    return frame, pl.Series([str(found.target_names[i]) for i in found.target])


def categories(frame: pl.DataFrame) -> pl.DataFrame:
    texts = [name for name in frame.columns if frame[name].dtype == pl.String()]
    return frame.with_columns(pl.col(name).cast(pl.Enum(frame[name].unique().drop_nulls().sort())) for name in texts)


def test_the_wage_equation_is_the_one_that_is_printed(wages: pl.DataFrame, made: Made, opened: Any) -> None:
    """Kleiber and Zeileis, Applied Econometrics with R, chapter 3, to the printed digits."""
    x = categories(wages.select("education", "experience", "ethnicity"))
    model = made(MINCER, x, wages["wage"])
    found = opened(model, x).answer(x).values
    afam = (wages["ethnicity"] == "afam").to_numpy()
    experience, education = wages["experience"].to_numpy(), wages["education"].to_numpy()
    printed = 4.321395 + 0.077473 * experience - 0.001316 * experience**2 + 0.085673 * education - 0.243364 * afam
    assert np.abs(found - printed).max() < 2e-3  # the square of 63 years times half a unit of the last digit
    assert model.packages[0].startswith("R 4.")


def test_a_factor_has_the_levels_of_training_when_one_row_is_asked(
    wages: pl.DataFrame, made: Made, opened: Any
) -> None:
    x = categories(wages.drop("wage"))
    scorer = opened(made(WITH_REGION, x, wages["wage"]), x)
    dummies = [
        (wages[name] == level).cast(pl.Float64()).to_numpy()
        for name in ("ethnicity", "smsa", "region", "parttime")
        for level in wages[name].unique().sort().to_list()[1:]
    ]
    design = np.column_stack([np.ones(wages.height), wages["education"], wages["experience"], *dummies])
    expected = design @ np.linalg.lstsq(design, wages["wage"].to_numpy(), rcond=None)[0]
    np.testing.assert_allclose(scorer.answer(x).values, expected, rtol=1e-9)
    np.testing.assert_allclose([scorer.answer(x[i]).values[0] for i in (0, 5000)], expected[[0, 5000]], rtol=1e-9)


def test_pandas_categories_reach_r_as_the_same_factors(wages: pl.DataFrame, made: Made) -> None:
    part = wages.gather_every(14)  # the rows are sorted by region
    x, y = categories(part.drop("wage")), part["wage"]
    polars, pandas = made(WITH_REGION, x, y), made(WITH_REGION, x.to_pandas(), y.to_numpy())
    assert polars.rds_bytes == pandas.rds_bytes
    np.testing.assert_array_equal(polars.predict(x.head(5)), pandas.predict(x.head(5).to_pandas()))


def test_two_classes_are_asked_for_probabilities_of_the_second(
    flowers: tuple[pl.DataFrame, pl.Series], made: Made, opened: Any
) -> None:
    x, y = flowers[0][50:], flowers[1][50:]
    model = made("fit <- function(X, y) glm(y ~ ., binomial, cbind(X, y = y))", x, y)
    scorer = opened(model, x, ["virginica", "versicolor"])  # the order of the signature is not trusted
    assert scorer.classes == ["versicolor", "virginica"]
    assert scorer.options["type"] == "response"
    found = scorer.answer(x)
    known = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(x.to_numpy(), y.to_numpy())
    np.testing.assert_allclose(found.probabilities, known.predict_proba(x.to_numpy()), atol=2e-3)
    assert found.values is None


SOFTMAX = """
fit <- function(X, y, rounds) {
  weights <- lapply(levels(y), function(level) suppressWarnings(glm.fit(cbind(1, as.matrix(X)), y == level,
    family = binomial(), control = list(maxit = rounds)))$coefficients)
  structure(list(weights = do.call(cbind, weights), levels = levels(y)), class = "softmax")
}
predict.softmax <- function(object, newdata, type = c("class", "prob"), ...) {
  p <- plogis(cbind(1, as.matrix(newdata)) %*% object$weights)
  p <- p / rowSums(p)
  colnames(p) <- object$levels
  if (match.arg(type) == "prob") p[, rev(object$levels)] else factor(object$levels[max.col(p)], levels = object$levels)
}
"""


def test_probabilities_of_many_classes_are_told_apart_by_their_names(
    flowers: tuple[pl.DataFrame, pl.Series], made: Made, opened: Any
) -> None:
    x, y = flowers
    scorer = opened(made(SOFTMAX, x, y, rounds=25), x, ["setosa", "versicolor", "virginica"])
    assert scorer.options["type"] == "prob"
    table = scorer.answer(x).probabilities
    np.testing.assert_allclose(table.sum(axis=1), 1.0)
    labels = np.array(scorer.classes)[table.argmax(axis=1)]
    assert (labels == y.to_numpy()).mean() > 0.95


ANSWERS = {
    "factor": "factor(ifelse(X$a > 0, 'yes', 'no'))",
    "text": "ifelse(X$a > 0, 'yes', 'no')",
    "a list like that of lda": "list(class = factor(ifelse(X$a > 0, 'yes', 'no')))",
    "matrix": "cbind(yes = as.numeric(X$a > 0), no = as.numeric(X$a <= 0))",
    "data frame of both": "data.frame(label = ifelse(X$a > 0, 'yes', 'no'), yes = (X$a > 0) + 0, no = (X$a <= 0) + 0)",
    "posterior": "list(posterior = cbind(yes = as.numeric(X$a > 0), no = as.numeric(X$a <= 0)))",
    "number": "as.numeric(X$a > 0)",
    "matrix of one column": "matrix(as.numeric(X$a > 0))",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_each_form_of_answer_is_understood(answer: str, made: Made, opened: Any) -> None:
    x = pl.DataFrame({"a": [1.0, -1.0, 2.0]})
    model = made(f"fit <- function(X, y) function(X) {answer}", x, ["yes", "no", "yes"])
    scorer = opened(model, x, ["no", "yes"])
    found = scorer.answer(x)
    values = found.values
    if values is None:
        values = np.array(scorer.classes)[found.probabilities.argmax(axis=1)]
    assert list(values) == ["yes", "no", "yes"]


WRONG = {
    "as many": ("X$a[1:2]", "2 answers for 3 rows"),
    "one missing": ("c(0.5, NA, 0.5)", "NA in row 2"),
    "no probability": ("c(0.5, 1.5, 0.5)", "between 0 and 1"),
    "sums": ("cbind(no = c(.5, .5, .5), yes = c(.5, .5, .6))", "sum to 1"),
    "names": ("cbind(c(.5, .5, .5), c(.5, .5, .5))", "are not the classes no, yes"),
    "another label": ("c('yes', 'no', 'maybe')", "answers the label 'maybe'"),
    "an error": ("stop('the model is tired')", "the model is tired"),
    "a call": ("nothing_of_this_name(X)", "could not find function"),
    "a list": ("list(1, 2)", "a list without posterior"),
}


@pytest.mark.parametrize("answer, says", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_an_error_that_says_what_is_wrong(answer: str, says: str, made: Made, opened: Any) -> None:
    x = pl.DataFrame({"a": [1.0, -1.0, 2.0]})
    scorer = opened(made(f"fit <- function(X, y) function(X) {answer}", x, ["yes", "no", "yes"]), x, ["no", "yes"])
    pid = scorer.pid
    for _ in range(2):
        with pytest.raises(UserCodeError, match=says):
            scorer.answer(x)
    assert scorer.pid == pid


def test_labels_come_back_as_the_values_they_were(made: Made, opened: Any) -> None:
    x = pl.DataFrame({"a": [1.0, 0.0]})
    for classes, code in (([False, True], "X$a > 0"), ([3, 7], "ifelse(X$a > 0, '7', '3')")):
        found = opened(made(f"fit <- function(X, y) function(X) {code}", x, classes), x, classes).answer(x)
        assert found.values.tolist() == [classes[1], classes[0]]
        assert type(found.values.tolist()[0]) is type(classes[0])


KINDS = """
fit <- function(X, y, ...) list(params = list(...), y = class(y), predict = function(X) 0)
predict_rows <- function(model, newdata) {
  print(newdata); message("asked"); cat(rep("x", 1e5))
  told <- vapply(newdata, function(column) paste(class(column)[1], paste(as.character(column), collapse = "|")), "")
  params <- vapply(model$params, function(p) paste(class(p), paste(p, collapse = "|")), "")
  rep(paste(c(told, params, model$y), collapse = "; "), nrow(newdata))
}
"""


def test_every_type_of_column_and_parameter_arrives_as_it_was_sent(made: Made) -> None:
    """And nothing that is printed meanwhile disturbs the answers."""
    x = pl.DataFrame(
        {
            "double": [1.5, None],
            "int": [2**40, None],
            "flag": [True, None],
            "text": ["Zoë €", None],
            "open": ["", "b"],
            "level": pl.Series(["b", None], dtype=pl.Enum(["a", "b"])),
            "day": [dt.date(2024, 2, 29), None],
            "time": pl.Series([dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC), None], dtype=pl.Datetime("us", "UTC")),
        }
    )
    model = made(KINDS, x, ["u", "v"], rate=0.5, rounds=3, deep=True, kinds=["a", "b"])
    told = model.predict(x)
    assert told[0] == told[1]
    kinds = [part.replace(" ", "|", 1).split("|") for part in told[0].split("; ")]
    assert [[word.strip() for word in kind] for kind in kinds] == [
        ["numeric", "1.5", "NA"],
        ["numeric", "1099511627776", "NA"],
        ["logical", "TRUE", "NA"],
        ["character", "Zoë €", "NA"],
        ["character", "", "b"],
        ["factor", "b", "NA"],
        ["Date", "2024-02-29", "NA"],
        ["POSIXct", "2024-02-29 12:30:00", "NA"],
        ["numeric", "0.5"],
        ["numeric", "3"],
        ["logical", "TRUE"],
        ["character", "a", "b"],
        ["factor"],
    ]


def test_not_a_number_and_missing_stay_two_things(made: Made) -> None:
    script = "fit <- function(X, y) function(X) ifelse(is.nan(X$a), 'nan', ifelse(is.na(X$a), 'na', 'value'))"
    x = pl.DataFrame({"a": [1.0, None, float("nan")]})
    assert list(made(script, x, [1.0, 2.0, 3.0]).predict(x)) == ["value", "na", "nan"]


def test_a_script_that_redefines_base_functions_disturbs_only_itself(made: Made) -> None:
    script = """
    c <- list <- send <- shaped <- structure <- readBin <- function(...) stop("mine")
    fit <- function(X, y) function(X) X$a * 2
    """
    x = pl.DataFrame({"a": [1.0, 2.0], "k": pl.Series(["u", "v"], dtype=pl.Enum(["u", "v"]))})
    assert made(script, x, [1.0, 2.0]).predict(x).tolist() == [2.0, 4.0]


def test_columns_for_which_r_has_no_vector_are_refused(made: Made) -> None:
    x = pl.DataFrame({"a": [b"1", b"2"]})
    with pytest.raises(DataError, match="'a' holds Binary"):
        made("fit <- function(X, y) 1", x, [1.0, 2.0])
    with pytest.raises(DataError, match="NUL"):
        made("fit <- function(X, y) 1", pl.DataFrame({"a": ["x\0y"]}), [1.0])


def test_a_fit_that_fails_is_told_in_r_s_words(made: Made) -> None:
    x = pl.DataFrame({"a": [1.0, 2.0]})
    with pytest.raises(UserCodeError, match="object 'nowhere' not found"):
        made("fit <- function(X, y) lm(y ~ a, data = nowhere)", x, [1.0, 2.0])
    with pytest.raises(UserCodeError, match="defines no function fit"):
        made("fitt <- function(X, y) 1", x, [1.0, 2.0])
    with pytest.raises(UserCodeError, match="unexpected"):
        made("fit <- function(X y) 1", x, [1.0, 2.0])
    with pytest.raises(UserCodeError, match=r"unused argument \(speed"):
        made("fit <- function(X, y) 1", x, [1.0, 2.0], speed=3)


def test_a_model_that_ends_r_is_an_error_and_r_starts_again(made: Made, opened: Any) -> None:
    x = pl.DataFrame({"a": [1.0, 2.0]})
    script = "fit <- function(X, y) function(X) { if (any(X$a < 0)) quit(status = 9); X$a }"
    scorer = opened(made(script, x, [1.0, 2.0]), x)
    with pytest.raises(UserCodeError, match="exit code 9"):
        scorer.answer(pl.DataFrame({"a": [-1.0]}))
    assert scorer.answer(x).values.tolist() == [1.0, 2.0]
    r = psutil.Process(scorer.pid)
    r.kill()
    while r.is_running() and r.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert scorer.answer(x).values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, bytes], ids=["gzip", "bzip2", "xz", "none"]
)
def test_an_rds_is_read_however_it_is_compressed(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.rds"
    subprocess.run(
        ["Rscript", "-e", f"saveRDS(lm(dist ~ speed, cars), '{path}', compress = FALSE)"], check=True, timeout=60
    )
    path.write_bytes(pack(path.read_bytes()))
    # R's own data set and the coefficients that R's manual prints: -17.5791 and 3.9324.
    assert read_rds(path).predict(pl.DataFrame({"speed": [10.0]}))[0] == pytest.approx(-17.5791 + 39.324, abs=1e-3)


def test_a_crate_of_mlflow_s_r_client_is_read(tmp_path: Path) -> None:
    """As that client writes it: an RDS of the raw bytes of a function that was serialised with its environment."""
    path = tmp_path / "crate.bin"
    code = f"""
    model <- lm(dist ~ speed, cars)
    crate <- structure(function(x) stats::predict(model, x), class = "crate")
    environment(crate) <- list2env(list(model = model), parent = baseenv())
    saveRDS(serialize(crate, NULL), "{path}")
    """
    subprocess.run(["Rscript", "-e", code], check=True, timeout=60)
    model = read_mlflow(tmp_path, {"model": "crate.bin", "version": "0.2"})
    assert model.predict(pl.DataFrame({"speed": [10.0]}))[0] == pytest.approx(-17.5791 + 39.324, abs=1e-3)


def test_what_is_no_rds_is_refused_before_r_reads_it(tmp_path: Path) -> None:
    for data in (b"\x80\x04pickle", gzip.compress(b"\x80\x04pickle"), b"\x1f\x8bdamaged", b""):
        with pytest.raises(Corrupt):
            RModel(rds=data)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_rds(tmp_path / "none.rds")


def test_without_r_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, made: Made) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="r-base"):
        made("fit <- function(X, y) 1", pl.DataFrame({"a": [1.0]}), [1.0])


def test_a_model_that_needs_a_missing_package_says_so(opened: Any) -> None:
    model = RModel(rds=b"X\n" + _serialised(), script=b"library(surely.not.installed)", packages=("R 9.9.9",))
    with pytest.raises(UserCodeError, match=r"surely\.not\.installed"):
        RScorer(model, signature_of(pl.DataFrame({"a": [1.0]})), {"type": ""})


def _serialised() -> bytes:
    code = "cat(as.character(serialize(1, NULL)[-(1:2)]))"
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True, timeout=60)
    return bytes.fromhex(done.stdout.replace(" ", ""))


def packaged(model: RModel, wages: pl.DataFrame, folder: Path) -> tuple[Path, bool]:
    table = wages.to_arrow()
    objects = ObjectStore(folder / "objects")
    digest = build(
        model=model,
        preparation=learn(table, target="wage"),
        train=table,
        held_out=table.slice(0, 0),
        objects=objects,
        provenance={},
        environment="",
    )
    return checkout(digest, objects, folder / "cache"), read_manifest(objects.get(digest)).runs_code


def test_C09_a_package_with_an_rds_is_loaded_only_where_somebody_vouched_for_it(
    wages: pl.DataFrame, made: Made, tmp_path: Path
) -> None:
    wages = wages.gather_every(10)
    model = made(WITH_REGION, categories(wages.drop("wage")), wages["wage"])
    assert flavor_of(model) is flavor_named("r")
    folder, runs_code = packaged(model, wages, tmp_path)
    assert runs_code
    with pytest.raises(Refused, match="holds code"):
        Predictor.load(folder)
    predictor = Predictor.load(folder, trusted=True)
    assert predictor.check_golden() == []
    rows = wages.drop("wage").head(3)
    expected = model.predict(categories(wages.drop("wage")).head(3))
    np.testing.assert_allclose(predictor.answers(rows).values, expected, rtol=1e-12)
    # A row that the model cannot answer says so; its neighbours are answered.
    odd = rows.with_columns(education=pl.Series([12.0, None, 12.0]), region=pl.Series(["south", "south", "moon"]))
    told = predictor.predict(odd)
    assert "NA in row 1" in told[1]["error"]
    assert "NA in row 1" in told[2]["error"]
    assert "error" not in told[0]
    predictor.close()


def test_speed_is_reported(wages: pl.DataFrame, made: Made, opened: Any, capsys: pytest.CaptureFixture[str]) -> None:
    x = categories(wages.drop("wage"))
    scorer = opened(made(WITH_REGION, x.gather_every(5), wages["wage"].gather_every(5)), x)
    with capsys.disabled():
        for rows in (1, 1000, 10_000):
            taken: list[float] = []
            for _ in range(20):
                began = time.perf_counter()
                assert len(scorer.answer(x.head(rows)).values) == rows
                taken.append(time.perf_counter() - began)
            print(f"\nR, lm with four factors: {rows} rows in {np.median(taken) * 1e3:.2f} ms (median of 20)", end="")


assert shutil.which("Rscript"), "these tests need R: apt install r-base-core"
