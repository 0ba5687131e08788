"""Configuration: what is wrong is said in one line, with the near word."""

import pytest

from histoscope.core.config import apply_sets, build, dump, load_yaml, merge
from histoscope.core.errors import ConfigError
from histoscope.core.training.arms import TuneSpec
from histoscope.core.training.spec import PretrainSpec


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            {"objective": {"temprature": 1}},
            "objective.temprature: unknown key, did you mean 'temperature'?",
        ),
        (
            {"training": {"monitor": {"evry": 1, "whatever": 2}}},
            "training.monitor.evry: unknown key, did you mean 'every'?",
        ),
        (
            {"training": {"optimiser": {"qqq": 1}}},
            "training.optimiser.qqq: unknown key, known: kind, momentum, learning_rate, ",
        ),
        ({"training": {"steps": "many"}}, "training.steps: input should be a valid integer"),
        ({"training": {"steps": 0}}, "training.steps: input should be greater than or equal to 1"),
        (
            {"objective": {"base": "moco"}},
            "objective: unknown objective 'moco', did you mean 'moco_v2'",
        ),
    ],
)
def test_a_fault_names_place_reason_and_near_word(body, line):
    with pytest.raises(ConfigError) as fault:
        build(PretrainSpec, body, "my.yaml")
    assert str(fault.value).startswith(f"my.yaml: {line}")
    assert "\n" not in str(fault.value)


def test_short_and_long_form_are_the_same():
    short = build(PretrainSpec, {"objective": {"temperature": 0.3}}, "a")
    long = build(PretrainSpec, {"objective": {"temperature": {"kind": "fixed", "value": 0.3}}}, "a")
    assert short == long


def test_the_resolved_configuration_reads_back(tmp_path):
    spec = build(PretrainSpec, {"training": {"steps": 7}}, "a")
    (tmp_path / "config.yaml").write_text(dump(spec))
    assert build(PretrainSpec, load_yaml(tmp_path / "config.yaml"), "b") == spec


def test_set_merges_a_path_and_replaces_a_mapping():
    base = {"objective": {"base": "simclr", "temperature": 0.2}, "seed": 1}
    assert apply_sets(base, ["objective.temperature=0.5"])["objective"]["base"] == "simclr"
    assert apply_sets(base, ["objective={base: simclr}"])["objective"] == {"base": "simclr"}
    assert base["objective"]["temperature"] == 0.2


def test_merge_goes_into_mappings_only():
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4}) == {
        "a": {"b": 3, "c": 2},
        "d": 4,
    }


@pytest.mark.parametrize("base", [{"sigma": 0.5}, {"kind": "hed", "sigma": 0.5}])
def test_merge_leaves_nothing_of_another_kind(base):
    over = {"kind": "statistics", "p": 1.0}
    assert merge({"stain": base}, {"stain": over}) == {"stain": over}
    assert merge({"stain": over}, {"stain": {"p": 0.5}}) == {"stain": {**over, "p": 0.5}}
    assert merge({"stain": over}, {"stain": {"kind": "statistics", "p": 0.5}})["stain"]["p"] == 0.5


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: 2\na: 3\n", "a stands twice"), ("a: [1\n", "not YAML"), ("- 1\n", "expected keys")],
)
def test_bad_yaml_is_refused(tmp_path, text, line):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=line):
        load_yaml(tmp_path / "c.yaml")


def test_a_set_without_a_value_is_refused():
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        apply_sets({}, ["seed"])


def test_a_fault_below_a_name_that_the_user_gave_has_the_near_word():
    with pytest.raises(ConfigError, match=r"mine\.preste: unknown key, did you mean 'preset'"):
        build(TuneSpec, {"arms": {"mine": {"preste": "simclr"}}}, "test")
