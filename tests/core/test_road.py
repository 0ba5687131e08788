"""prepare -> pretrain -> finetune -> evaluate -> predict on a domain from outside the package."""

import json
from dataclasses import replace

import numpy as np
import pytest

from histoscope.core.config import build
from histoscope.core.data.joined import joined
from histoscope.core.data.store import Store
from histoscope.core.data.units import digest_units, read_seen
from histoscope.core.errors import DataError, UsageError
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.objectives.moco_v2 import MoCoV2Spec
from histoscope.core.progress import Silent
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.journal import read_metrics
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.folder import read_outcomes
from histoscope.core.work.local import Local
from tests.core.training.test_resume import Killed, KilledAfter


def small(steps=3, **more):
    training = {"steps": steps, "batch_size": 8, "workers": 0, "threads": 1, "checkpoint_every": 2}
    body = {"encoder": "test_resnet", "training": {**training, **more}}
    return build(PretrainSpec, body, "test")


def run(store, toy, spec, out):
    return pretrain(store, toy.DOMAIN, spec, out, progress=Silent())


def test_the_whole_road(toy, toy_store, toy_folder, tmp_path):
    run(toy_store, toy, small(), tmp_path / "run")
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 3
    assert (tmp_path / "run" / "curves.png").is_file()
    spec = ProbeSpec(fraction=0.2, draws=2)
    package = finetune(
        toy_store, str(tmp_path / "run"), spec, tmp_path / "package", progress=Silent()
    )
    assert [task.classes for task in package.tasks] == [("blue", "green")]
    body = evaluate(package, toy_store, tmp_path / "evaluation", progress=Silent())
    measured = body["tasks"]["hue"]
    assert measured["samples"] == 24
    assert measured["interval_over"] == "samples"
    assert measured["balanced_accuracy"]["value"] > 0.9  # the colour gives it away
    outcomes = predict(
        tmp_path / "package",
        {"input": toy_folder},
        toy.ToyOptions(),
        tmp_path / "out",
        engine=Local(0),
        progress=Silent(),
    )
    assert [outcome.status for outcome in outcomes] == ["done"] * 3
    assert sum(outcome.samples for outcome in outcomes) == 76


def test_prediction_survives_bad_crashing_and_corrupt_sources(toy, toy_store, tmp_path):
    spec = ProbeSpec(fraction=0.5, draws=1)
    finetune(toy_store, "colour", spec, tmp_path / "package", progress=Silent())
    folder = tmp_path / "new"
    folder.mkdir()
    for name, corrupt in (("crash-1", 0), ("bad-1", 0), ("z-good", 0), ("y-some", 2)):
        toy.write_stack(folder / f"{name}.npy", 6, 7, corrupt)
    np.save(folder / "x-empty.npy", np.zeros((0, 16, 16, 3), np.uint8))

    def call():
        return predict(
            tmp_path / "package",
            {"input": folder},
            toy.ToyOptions(),
            tmp_path / "out",
            engine=Local(1),
            progress=Silent(),
        )

    outcomes = {outcome.source.path: outcome for outcome in call()}
    assert outcomes["bad-1.npy"].reason == "it is bad"
    assert "crashed" in outcomes["crash-1.npy"].reason
    assert outcomes["x-empty.npy"].status == "empty"
    assert outcomes["y-some.npy"].corrupt == 2
    assert outcomes["y-some.npy"].samples == 4
    assert outcomes["z-good.npy"].status == "done"
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files(tmp_path / "out")}
    call()
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files(tmp_path / "out")} == before
    assert len(read_outcomes(tmp_path / "out" / "results")) == 5


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_shards_together_do_what_one_call_does(toy, toy_store, toy_folder, tmp_path):
    spec = ProbeSpec(fraction=0.5, draws=1)
    finetune(toy_store, "colour", spec, tmp_path / "package", progress=Silent())

    def call(out, shard):
        predict(
            tmp_path / "package",
            {"input": toy_folder},
            toy.ToyOptions(),
            out,
            shard=shard,
            engine=Local(0),
            progress=Silent(),
        )

    call(tmp_path / "one", (1, 1))
    for number in (1, 2):
        call(tmp_path / "two", (number, 2))
    ours = {p.relative_to(tmp_path / "one"): p.read_bytes() for p in files(tmp_path / "one")}
    theirs = {p.relative_to(tmp_path / "two"): p.read_bytes() for p in files(tmp_path / "two")}
    assert ours == theirs


def test_evaluation_refuses_what_the_package_has_seen(toy, toy_store, tmp_path):
    spec = ProbeSpec(fraction=1.0, draws=1)
    package = finetune(toy_store, "colour", spec, tmp_path / "package", progress=Silent())
    split = tmp_path / "split.csv"
    ids = toy_store.index.filter(
        __import__("pyarrow.compute").compute.equal(toy_store.index.column("split"), "train")
    ).column("id")
    split.write_text("id,split\n" + "".join(f"{i},test\n" for i in ids.to_pylist()))
    with pytest.raises(DataError, match="was trained on 40 of 40 samples"):
        evaluate(package, toy_store, tmp_path / "e", split=f"{split}:test", progress=Silent())
    body = evaluate(
        package,
        toy_store,
        tmp_path / "e",
        split=f"{split}:test",
        allow_seen=True,
        progress=Silent(),
    )
    assert any("SEEN BEFORE" in caution for caution in body["tasks"]["hue"]["cautions"])


def test_a_run_of_another_configuration_is_refused(toy, toy_store, tmp_path):
    run(toy_store, toy, small(2), tmp_path / "run")
    with pytest.raises(UsageError, match="another configuration"):
        run(toy_store, toy, small(3), tmp_path / "run")


def test_a_memory_of_more_than_half_of_the_samples_is_refused(toy, toy_store, tmp_path):
    spec = small(2).model_copy(update={"objective": MoCoV2Spec()})
    with pytest.raises(UsageError, match=r"1024 are more than half of 40 samples; --set .*=20"):
        run(toy_store, toy, spec, tmp_path / "run")


def test_a_run_on_other_data_is_refused(toy, toy_store, tmp_path):
    run(toy_store, toy, small(2), tmp_path / "run")
    split = tmp_path / "split.csv"
    ids = toy_store.index.column("id").to_pylist()[:20]
    split.write_text("id,split\n" + "".join(f"{name},train\n" for name in ids))
    with pytest.raises(UsageError, match="trained on other data"):
        pretrain(
            toy_store,
            toy.DOMAIN,
            small(2),
            tmp_path / "run",
            split=f"{split}:train",
            progress=Silent(),
        )


def test_a_run_that_never_began_may_change_its_configuration(toy, toy_store, tmp_path):
    with pytest.raises(UsageError, match="fewer than one batch"):
        run(toy_store, toy, small(2, batch_size=64), tmp_path / "run")
    run(toy_store, toy, small(2), tmp_path / "run")
    assert "batch 8" in (tmp_path / "run" / "log.txt").read_text()


def test_a_changed_package_is_refused(toy, toy_store, tmp_path):
    from histoscope.core.packages.package import open_package

    finetune(
        toy_store, "colour", ProbeSpec(fraction=0.5, draws=1), tmp_path / "p", progress=Silent()
    )
    body = json.loads((tmp_path / "p" / "package.json").read_text())
    (tmp_path / "p" / "package.json").write_text(json.dumps(body))
    with pytest.raises(DataError, match=r"package\.json was changed"):
        open_package(tmp_path / "p")


def test_a_package_of_another_scale_is_refused(toy, toy_store, toy_folder, tmp_path):
    package = finetune(
        toy_store, "colour", ProbeSpec(fraction=0.5, draws=1), tmp_path / "p", progress=Silent()
    )
    prepare(
        toy.DOMAIN,
        {"input": toy_folder},
        toy.ToySampling(pitch=2.0),
        toy.ToyOptions(),
        tmp_path / "other",
        engine=Local(0),
        progress=Silent(),
    )
    with pytest.raises(DataError, match=r"made at pitch 1, but .* is at pitch 2"):
        evaluate(package, Store(tmp_path / "other"), tmp_path / "e", progress=Silent())


def test_a_store_works_where_it_is_moved_to(toy, toy_store, tmp_path):
    first = list(toy_store.reader.images(range(5)))
    (tmp_path / "store").rename(tmp_path / "moved")
    again = list(Store(tmp_path / "moved").reader.images(range(5)))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_a_store_whose_sources_are_read_again_is_none_until_it_is_whole(
    toy, toy_folder, toy_store, tmp_path, monkeypatch
):
    """Its index would speak of shards that have changed."""
    find = toy.ToyDomain.find

    def told_otherwise(self, roots, options):
        return (replace(source, given="other") for source in find(self, roots, options))

    def again(progress):
        cut, options, out = toy.ToySampling(), toy.ToyOptions(), tmp_path / "store"
        roots = {"input": toy_folder}
        more = {"encoding": "lossless", "engine": Local(0), "progress": progress}
        return prepare(toy.DOMAIN, roots, cut, options, out, **more)

    index = (tmp_path / "store" / "index.parquet").read_bytes()
    monkeypatch.setattr(toy.ToyDomain, "find", told_otherwise)
    with pytest.raises(Killed):
        again(KilledAfter(2))
    with pytest.raises(DataError, match="store"):
        Store(tmp_path / "store")
    assert [outcome.status for outcome in again(Silent())] == ["done"] * 3
    assert (tmp_path / "store" / "index.parquet").read_bytes() == index
    assert len(Store(tmp_path / "store").index) == len(toy_store.index)


def two_stores(toy, tmp_path, **cut):
    """Stores of two folders."""
    stores = []
    for name, seed in (("one", 0), ("two", 9)):
        folder = tmp_path / name
        folder.mkdir()
        toy.write_stack(folder / f"{name}-train.npy", 20, seed)
        sampling = toy.ToySampling(**(cut if name == "two" else {}))
        out, roots, options = tmp_path / f"{name}-store", {"input": folder}, toy.ToyOptions()
        more = {"encoding": "lossless", "engine": Local(0), "progress": Silent()}
        prepare(toy.DOMAIN, roots, sampling, options, out, **more)
        stores.append(Store(out))
    return stores


def test_several_stores_are_read_as_one(toy, tmp_path):
    stores = two_stores(toy, tmp_path)
    both = joined(stores)
    assert len(both.index) == 40
    for row in (0, 19, 20, 39):
        image = stores[row // 20].reader.image(row % 20)
        assert np.array_equal(both.reader.image(row), image)
    table = both.labels()
    assert (table.task.name, len(table.rows)) == ("hue", 40)
    run(both, toy, small(2, positions="per_source_cap", source_cap=15), tmp_path / "run")
    said = (tmp_path / "run" / "log.txt").read_text()
    assert "40 samples; at most 15 samples a source an epoch: 30 of 40" in said
    seen = read_seen(tmp_path / "run")
    assert all(digest_units(store.index.column("unit").to_pylist()) <= seen for store in stores)
    package = finetune(
        both,
        str(tmp_path / "run"),
        ProbeSpec(fraction=0.5, draws=1),
        tmp_path / "package",
        split="train",
        progress=Silent(),
    )
    assert package.info.heads[0].labels == [20]


def test_stores_that_do_not_fit_each_other_are_refused(toy, tmp_path):
    stores = two_stores(toy, tmp_path, pitch=2.0)
    with pytest.raises(DataError, match=r"sampling differs \(pitch 1.0 and 2.0\)"):
        joined(stores)
    with pytest.raises(DataError, match="both hold"):
        joined([stores[0], stores[0]])


def test_a_folder_of_an_older_program_goes_on_where_new_options_are_usual(toy, toy_store, tmp_path):
    spec = ProbeSpec(fraction=0.5, draws=1)
    finetune(toy_store, "colour", spec, tmp_path / "package", progress=Silent())
    (tmp_path / "new").mkdir()
    toy.write_stack(tmp_path / "new" / "a.npy", 6, 7, 0)

    def call(**asked):
        return predict(
            tmp_path / "package",
            {"input": tmp_path / "new"},
            toy.ToyOptions(**asked),
            tmp_path / "out",
            engine=Local(0),
            progress=Silent(),
        )

    call()
    claim = tmp_path / "out" / "predict.json"
    body = json.loads(claim.read_text())
    name = next(iter(body["options"]))
    del body["options"][name]  # as one that did not know it wrote it
    claim.write_text(json.dumps(body))
    call()
    assert name in json.loads(claim.read_text())["options"]
