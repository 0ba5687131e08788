"""Labels of whole sources: written, read, drawn by case, learnt, scored and predicted."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from histoscope.core.config import build
from histoscope.core.contracts import Task
from histoscope.core.data.examples import labelled
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.store import Store
from histoscope.core.errors import ConfigError, DataError, UsageError
from histoscope.core.heads.contract import Bags
from histoscope.core.labelling.gather import read_label_file
from histoscope.core.learning.spec import FinetuneSpec, ProbeSpec
from histoscope.core.packages.info import HeadInfo
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Silent
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.folds import cross_validate
from histoscope.core.stages.labels import import_labels
from histoscope.core.stages.predict import predict
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain import rehearse
from histoscope.core.stages.suggest import suggest
from histoscope.core.stages.suspects import Suspicion
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.folder import read_outcomes
from histoscope.core.work.local import Local

SHARES = {"few": 0.2, "many": 0.8}  # of images that are green


def write_source(path, share, count, rng):
    """Noise, of which a share is green and the rest blue."""
    images = rng.integers(60, 120, (count, 16, 16, 3), dtype=np.uint8)
    for place, image in enumerate(images):
        green = place < round(share * count)
        image[..., 1 if green else 2] += 80
        image[0, 0, 0] = int(green)
    np.save(path, images)


@pytest.fixture
def sources(tmp_path):
    """Sixteen cases of two files each, half of them to train on, and what each file is."""
    folder, rng, truth = tmp_path / "sources", np.random.default_rng(5), {}
    folder.mkdir()
    for case in range(16):
        part = "train" if case % 4 < 2 else "test"
        kind = "few" if case % 2 else "many"
        for number in range(2):
            name = f"c{case:02d}-{part}-{number}.npy"
            write_source(folder / name, SHARES[kind], int(rng.integers(5, 9)), rng)
            truth[name] = kind
    return folder, truth


@pytest.fixture
def store(toy, sources, tmp_path):
    """Prepared with labels of samples, and given labels of sources by their paths."""
    folder, truth = sources
    prepare(
        toy.DOMAIN,
        {"input": folder},
        toy.ToySampling(),
        toy.ToyOptions(with_cases=True),
        tmp_path / "store",
        engine=Local(0),
        progress=Silent(),
    )
    store = Store(tmp_path / "store")
    lines = [f"{name},{kind}" for name, kind in truth.items()]
    table = take(store, tmp_path, "\n".join(["source,label", *lines]), "green")
    table.write(store.path / "labels" / "green.parquet")
    return store


class Hearing(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def take(store, folder, text, name=None):
    (folder / "given.csv").write_text(text + "\n")
    file = read_label_file(folder / "given.csv")
    more = {"out": None, "later_wins": False, "progress": Silent()}
    return import_labels(store, [file], name, (), **more)


def learn_from(store, out, encoder="colour", **how):
    spec = build(FinetuneSpec, how, "test")
    return finetune(store, encoder, spec, out, tasks=("green",), progress=Silent())


def learn(store, out, tasks=("green",), **more):
    spec = build(FinetuneSpec, {"fraction": 0.5, "draws": 2, "draw_by": "case", **more}, "test")
    return finetune(store, "colour", spec, out, tasks=tasks, progress=Silent())


def test_labels_of_sources_are_written_and_read_by_id(store, sources):
    table = Store(store.path).labels("green")
    assert table.task == Task("green", ("few", "many"), True, "source")
    paths = {one: row["path"] for one, row in store.manifest.items()}
    told = zip(table.names.to_pylist(), table.rows["label"].to_pylist(), strict=True)
    assert {paths[name]: label for name, label in told} == sources[1]


def test_a_source_comes_with_its_samples_of_the_part(store):
    found = labelled(store, "train", store.labels("green"), None)
    index = store.index.to_pylist()
    assert len(found) == 16
    for place, name in enumerate(found.names):
        rows = found.rows[found.starts[place] : found.starts[place + 1]]
        held = [row for row, told in enumerate(index) if told["source"] == name]
        assert rows.tolist() == held
        assert found.units[place] == f"case:{index[held[0]]['case']}"
    some = found.take(np.array([3, 1]))
    assert some.names == [found.names[3], found.names[1]]
    assert some.rows.tolist() == [
        row for at in (3, 1) for row in found.rows[found.starts[at] : found.starts[at + 1]]
    ]


def test_draws_by_case_take_all_sources_of_a_case(store, tmp_path):
    package = learn(store, tmp_path / "p")
    drawn = pq.read_table(tmp_path / "p" / "draws.parquet").to_pylist()
    cases = {one: row["path"].partition("-")[0] for one, row in store.manifest.items()}
    for draw in range(2):
        names = [row["source"] for row in drawn if row["draw"] == draw]
        assert len(names) == package.info.heads[0].labels[draw] == 8
        whole = {one for one, case in cases.items() if case in {cases[name] for name in names}}
        assert set(names) == whole
    assert all(row["sample"] is None for row in drawn)


def test_draws_of_so_many_cases_are_kept_said_and_scored_by_folds(store, tmp_path):
    package = learn_from(store, tmp_path / "p", cases_per_class=2, draws=2)
    (head,) = package.info.heads
    assert (head.cases_per_class, head.fraction, head.draw_by) == (2, None, "case")
    assert head.labels == [8, 8]  # two sources of each case
    card = (tmp_path / "p" / "MODEL_CARD.md").read_text()
    assert "2 draws of 2 cases of every class, seed 0" in card
    other = learn_from(store, tmp_path / "q", "random:test_resnet", cases_per_class=2, draws=2)
    assert other.info.heads[0].drawn == head.drawn
    spec = build(FinetuneSpec, {"cases_per_class": 3, "draws": 1}, "test")
    asked = {"tasks": ("green",), "progress": Silent()}
    body, info = cross_validate(store, "colour", spec, 4, tmp_path / "cv", **asked)
    assert body["tasks"]["green"]["labels"] == [12]
    assert info.heads[0].cases_per_class == 3
    with pytest.raises(DataError, match=r"few is in 4 cases, 5 are asked for \(the train split"):
        learn_from(store, tmp_path / "r", cases_per_class=5)
    spec = build(FinetuneSpec, {"cases_per_class": 7, "draws": 1}, "test")
    with pytest.raises(DataError, match=r"in 6 cases, 7 .*\(all samples .* without fold 1\)"):
        cross_validate(store, "colour", spec, 4, tmp_path / "r", **asked)


def test_a_package_of_before_opens(store, tmp_path):
    package = learn(store, tmp_path / "p")
    told = json.loads((package.folder / "package.json").read_text())["heads"][0]
    assert "cases_per_class" not in told
    assert HeadInfo.model_validate(told).cases_per_class is None


def test_cases_with_sources_of_several_classes_are_said(store, sources, tmp_path):
    heard, package = Hearing(), learn(store, tmp_path / "p")
    evaluate(package, store, tmp_path / "e", progress=heard)
    assert not any("several classes" in line for line in heard.lines)
    kinds = {"0.npy": "few", "1.npy": "many"}
    lines = [f"{name},{kinds[name[-5:]]}" for name in sources[1]]
    table = take(store, tmp_path, "\n".join(["source,label", *lines]), "mixed")
    table.write(tmp_path / "mixed.parquet")
    spec = build(FinetuneSpec, {"fraction": 1, "draws": 1}, "test")
    given = {"labels": tmp_path / "mixed.parquet", "progress": heard}
    package = finetune(store, "colour", spec, tmp_path / "m", **given)
    evaluate(package, store, tmp_path / "f", **given)
    cross_validate(store, "colour", spec, 2, tmp_path / "cv", **given)
    said = [line for line in heard.lines if "several classes" in line]
    assert [line.split()[1] for line in said] == ["8", "8", "16"]


@pytest.mark.parametrize("method", ["probe", "most", "attention", "topk"])
def test_sources_are_scored_by_case(store, tmp_path, method):
    """The second is a method, a head and settings from outside."""
    package = learn(store, tmp_path / "p", method=method)
    assert package.info.heads[0].kind == {"probe": "mean"}.get(method, method)
    measured = evaluate(package, store, tmp_path / "e", progress=Silent())["tasks"]["green"]
    assert (measured["sources"], measured["units"], measured["interval_over"]) == (16, 8, "cases")
    assert measured["samples"] > 16 * 5 - 1
    assert np.sum(measured["confusion"]) == 16
    if method not in ("most", "topk"):  # the most of either kind is in every source
        least = 1 if method == "probe" else 0.75  # a share is what a mean tells best
        assert measured["balanced_accuracy"]["value"] >= least
    with pytest.raises(DataError, match="was trained on"):
        evaluate(package, store, tmp_path / "f", split="train", progress=Silent())


@pytest.mark.parametrize("method", ["probe", "attention", "topk"])
def test_how_many_keep_a_class_is_scored_of_sources_too(store, tmp_path, method):
    """Whether or not there were cases enough to calibrate on."""
    package = learn(store, tmp_path / "p", method=method)
    measured = evaluate(package, store, tmp_path / "e", progress=Silent())["tasks"]["green"]
    table = pq.read_table(tmp_path / "e" / "scored-green.parquet")
    kinds = np.array(["few", "many"])
    scores = np.stack([table.column(f"score:0:{kind}").to_numpy() for kind in kinds], axis=1)
    right = kinds[scores.argmax(axis=1)] == np.array(table.column("truth").to_pylist())
    assert len(right) == measured["sources"]
    for row in measured["certain"]:
        kept = scores.max(axis=1) >= row["below"]
        assert row["kept"]["per_draw"][0] == pytest.approx(kept.mean())
        if kept.any():
            assert row["right"]["per_draw"][0] == pytest.approx(right[kept].mean())


def test_scores_of_sources_that_only_rank_are_never_uncertain(toy, store, sources, tmp_path):
    """Refused where nothing else is answered, else said, and the best class."""
    learn(store, tmp_path / "alone")
    learn(store, tmp_path / "both", tasks=("hue", "green"))
    where = {"input": sources[0]}, toy.ToyOptions()
    doubt = {"uncertain_below": 1.0, "engine": Local(0)}
    said = "scores of green only rank: 4 cases are fewer than 20, so none can be called uncertain"
    with pytest.raises(UsageError, match=said):
        predict(tmp_path / "alone", *where, tmp_path / "o", **doubt, progress=Silent())
    assert not (tmp_path / "o").exists()
    heard = Hearing()
    done = predict(tmp_path / "both", *where, tmp_path / "o", **doubt, progress=heard)
    assert sum(said in line for line in heard.lines) == 1
    assert {one.more["of_source"][0]["uncertain"] for one in done} == {False}
    kinds = done[0].more["answers"][0]["classes"]
    assert kinds[-1]["name"] == "uncertain"
    assert kinds[-1]["samples"] > 0


def test_a_mean_head_is_linear_in_the_mean_of_its_bag(store, tmp_path):
    head = learn(store, tmp_path / "p", scaling="standard").head(0)
    rng = np.random.default_rng(0)
    sizes, given = [1, 4, 2], (head.linear.weight, head.linear.bias)
    features = rng.normal(size=(7, head.linear.weight.shape[1])).astype(np.float32)
    found = head.probabilities(Bags(features, np.cumsum([0, *sizes])))
    begin = 0
    for size, scores in zip(sizes, found, strict=True):
        mean = sum(features[begin + at].astype(np.float64) for at in range(size)) / size
        logits = [float(row @ mean + b) for row, b in zip(*given, strict=True)]
        powers = np.exp(np.array(logits) - max(logits))
        assert scores == pytest.approx(powers / powers.sum(), abs=1e-5)
        begin += size


def test_one_package_answers_of_samples_and_of_sources(toy, store, sources, tmp_path):
    learn(store, tmp_path / "p", tasks=("hue", "green"))
    new, rng = tmp_path / "new", np.random.default_rng(9)
    new.mkdir()
    for kind, share in SHARES.items():
        write_source(new / f"{kind}.npy", share, 30, rng)
    np.save(new / "none.npy", np.zeros((0, 16, 16, 3), np.uint8))
    corrupt = np.zeros((2, 16, 16, 3), np.uint8)
    corrupt[:, 0, 0, 0] = 255
    np.save(new / "corrupt.npy", corrupt)
    options, out = toy.ToyOptions(), tmp_path / "out"
    predict(tmp_path / "p", {"input": new}, options, out, engine=Local(0), progress=Silent())
    with (out / "answers.csv").open(newline="") as handle:
        said = {row["path"]: row for row in csv.DictReader(handle)}
    assert {name: row["class:green"] for name, row in said.items()} == {
        "few.npy": "few",
        "many.npy": "many",
        "none.npy": "",
        "corrupt.npy": "",
    }
    scores = [float(said["few.npy"][f"p:green:{kind}"]) for kind in ("few", "many")]
    assert sum(scores) == pytest.approx(1, abs=1e-6)
    assert scores[0] > scores[1]
    for outcome in read_outcomes(out / "results"):
        if outcome.status == "done":
            assert [one["task"] for one in outcome.more["answers"]] == ["hue"]
            assert [one["task"] for one in outcome.more["of_source"]] == ["green"]
            folder = out / "results" / outcome.source.id
            names = pq.read_table(folder / "predictions.parquet").column_names
            assert "class:hue" in names
            assert not any("green" in name.partition(":")[2].split(":")[0] for name in names)


def test_a_package_of_sources_alone_predicts(toy, store, tmp_path):
    learn(store, tmp_path / "p")
    write_source(tmp_path / "one.npy", 0.8, 300, np.random.default_rng(1))
    roots, options = {"input": tmp_path / "one.npy"}, toy.ToyOptions()
    predict(tmp_path / "p", roots, options, tmp_path / "o", engine=Local(0), progress=Silent())
    (done,) = read_outcomes(tmp_path / "o" / "results")
    (told,) = done.more["of_source"]
    assert [kind["name"] for kind in told["classes"] if kind["holds"]] == ["many"]
    assert json.loads((tmp_path / "p" / "package.json").read_text())["heads"][0]["level"] == (
        "source"
    )


@pytest.mark.parametrize("method", ["knn", "uni", "full", "probe_full", "swav"])
def test_a_method_that_answers_no_sources_is_refused(store, tmp_path, method):
    with pytest.raises(UsageError, match=f"--method {method}: answers no task of a source"):
        learn(store, tmp_path / "p", method=method)
    assert not (tmp_path / "p").exists()


def test_features_that_a_transformer_cannot_share_out_are_refused(store, tmp_path):
    asked = {"method": "attention", "attention": {"mode": "att_trans", "steps": 1}}
    with pytest.raises(UsageError, match="the 18 that it reads are not divisible by 8; use att"):
        learn(store, tmp_path / "p", **asked)
    assert not (tmp_path / "p").exists()


def test_a_method_from_outside_has_settings_of_its_own():
    spec = build(FinetuneSpec, {"method": "most", "penalty": 2}, "a")
    assert spec.penalty == 2
    for wrong, said in [
        ({"method": "most", "strength": 2}, "strength: unknown key"),
        ({"method": "probe", "penalty": 2}, "penalty: unknown key"),
        ({"method": "mots"}, "unknown method 'mots', did you mean 'most'"),
    ]:
        with pytest.raises(ConfigError, match=said):
            build(FinetuneSpec, wrong, "a")


def test_what_is_about_sources_is_refused_where_samples_are_asked_for(toy, store, tmp_path):
    task = store.labels("green").task
    with pytest.raises(UsageError, match="suggest chooses samples; 'green' asks of a source"):
        suggest(store, None, task, frozenset(), 5, progress=Silent())
    watched = {"training": {"steps": 1, "batch_size": 8, "monitor": {"every": 1, "task": "green"}}}
    spec = build(PretrainSpec, {"encoder": "test_resnet", **watched}, "test")
    with pytest.raises(DataError, match="'green' has no single class a sample"):
        rehearse(store, toy.DOMAIN, spec, tmp_path / "run")
    package = learn(store, tmp_path / "p", tasks=("hue",))
    file = store.path / "labels" / "green.parquet"
    with pytest.raises(DataError, match="one class a source, the package answers with one class a"):
        evaluate(package, store, tmp_path / "e", labels=file, progress=Silent())


def test_a_source_of_several_cases_has_no_label(toy, toy_store, tmp_path):
    """In the toy store each image stands for itself."""
    (first, *_) = toy_store.manifest
    table = LabelTable.make(Task("a", ("x",), True, "source"), [first], [["x"]], "test")
    with pytest.raises(DataError, match="holds several cases"):
        labelled(toy_store, "train", table, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source,label\nlost.npy,few", r"1 sources are not in .* \(first: lost.npy\)"),
        ("source,label\nc00-train-0.npy,few\nc00-train-0.npy,many", "stands twice"),
        ("id,label\nx,few", "one class a sample, but 'green' has one class a source"),
    ],
)
def test_what_does_not_fit_is_refused(store, tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        take(store, tmp_path, text, "green")


def test_a_source_may_be_named_as_in_any_table(store, tmp_path):
    """By the end of its path, without its suffix, in another case, as everywhere."""
    names = ["/elsewhere/c00-train-0.npy", "C00-TRAIN-1", "x\\c02-test-0"]
    lines = "\n".join(f"{name},few" for name in names)
    table = take(store, tmp_path, f"source,label\n{lines}", "other")
    paths = {one: row["path"] for one, row in store.manifest.items()}
    found = {paths[one] for one in table.names.to_pylist()}
    assert found == {"c00-train-0.npy", "c00-train-1.npy", "c02-test-0.npy"}


def test_a_path_of_two_sources_is_refused_with_the_candidates(toy, sources, tmp_path):
    folder, _ = sources
    other = tmp_path / "other"
    other.mkdir()
    write_source(other / "c00-train-0.npy", 0.5, 5, np.random.default_rng(8))
    roots = {"input": folder, "input2": other}
    made = (toy.DOMAIN, roots, toy.ToySampling(), toy.ToyOptions(), tmp_path / "both")
    prepare(*made, engine=Local(0), progress=Silent())
    store = Store(tmp_path / "both")
    with pytest.raises(DataError, match=r"path of several sources; give one of their ids \("):
        take(store, tmp_path, "source,label\nc00-train-0.npy,few", "green")
    one = next(iter(store.manifest))
    table = take(store, tmp_path, f"source,label\n{one},few", "green")
    assert table.names.to_pylist() == [one]


def test_weights_of_a_draw_are_read_when_it_is_used(store, tmp_path, monkeypatch):
    learn(store, tmp_path / "p")
    read, whole = list[str](), open_package.__globals__["load_tensors"]
    monkeypatch.setattr(
        "histoscope.core.packages.package.load_tensors",
        lambda path, prefix="": read.append(prefix) or whole(path, prefix),
    )
    package = open_package(tmp_path / "p")
    assert read == []
    package.head(0, 1)
    assert read == ["head.1.0."]


def test_probe_settings_are_of_the_probe():
    assert ProbeSpec().method == "probe"
    with pytest.raises(ConfigError, match="neighbours: unknown key"):
        build(FinetuneSpec, {"neighbours": [1]}, "a")


def test_how_much_each_sample_counted_stands_beside_it(toy, store, tmp_path):
    package = learn(store, tmp_path / "p", method="attention", attention={"steps": 20})
    (tmp_path / "new").mkdir()
    toy.write_stack(tmp_path / "new" / "a-good.npy", 30, 7, 3)
    roots, options = {"input": tmp_path / "new"}, toy.ToyOptions()
    how = {"engine": Local(0), "progress": Silent()}
    (outcome,) = predict(package.folder, roots, options, tmp_path / "out", **how)
    folder = tmp_path / "out" / "results" / outcome.source.id
    rows = pq.read_table(folder / "predictions.parquet")
    weights = rows.column("attention:green").to_numpy(zero_copy_only=False)
    bad = np.array([one != "ok" for one in rows.column("status").to_pylist()])
    assert bad.sum() == outcome.corrupt == 3
    assert np.isnan(weights[bad]).all()
    assert weights[~bad].sum() == pytest.approx(1, abs=1e-5)
    assert len(set(weights[~bad].tolist())) > 1


@pytest.mark.parametrize("method", ["attention", "probe"])
def test_by_a_class_of_sources_they_rank_and_show_what_counted(toy, store, tmp_path, method):
    more = {"attention": {"steps": 20}} if method == "attention" else {}
    package = learn(store, tmp_path / "p", method=method, **more)
    (tmp_path / "new").mkdir()
    for kind, share in SHARES.items():
        write_source(tmp_path / "new" / f"{kind}.npy", share, 30, np.random.default_rng(1))
    toy.write_stack(tmp_path / "new" / "z-good.npy", 30, 7, 3)
    roots, options, out = {"input": tmp_path / "new"}, toy.ToyOptions(), tmp_path / "out"
    how = {"engine": Local(0), "suspicious": Suspicion("green", "many"), "progress": Silent()}
    outcomes = predict(package.folder, roots, options, out, **how)
    with (out / "suspicious.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    scores = {
        one.source.id: one.more["of_source"][0]["classes"][1]["probability"] for one in outcomes
    }
    assert [float(row["score"]) for row in rows] == sorted(
        (round(one, 6) for one in scores.values()), reverse=True
    )
    assert [row["called"] for row in rows] == [row["share"] for row in rows] == [""] * 3
    for one in outcomes:
        shown, folder = one.more["suspicious"]["shown"], out / "results" / one.source.id
        assert one.more["suspicious"]["level"] == "source"
        assert bool(shown) == (method == "attention")
        table = pq.read_table(folder / "predictions.parquet").to_pylist()
        for told in shown:
            (row,) = (row for row in table if row["id"] == told["id"])
            assert told["score"] == pytest.approx(row["attention:green"] * one.samples, rel=1e-5)
            assert told["score"] >= 0.5
            assert (folder / told["file"]).is_file()
