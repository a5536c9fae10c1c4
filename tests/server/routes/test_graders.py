"""Graders through the real client: OpenAI's answers, true flags, and nobody else's models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from server.engine.fake import CONTEXT
from tests.conforms import conforms
from tests.server.conftest import Running, Stage

CHECK: Any = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_text}}",
    "reference": "{{item.reference}}",
    "operation": "eq",
}
SCORE: Any = {
    "type": "score_model",
    "name": "kind",
    "model": "tiny",
    "input": [{"role": "user", "content": "How kind is this? {{sample.output_text}}"}],
    "range": [1, 7],
}
MULTI: Any = {
    "type": "multi",
    "name": "both",
    "graders": {"same": CHECK, "kind": SCORE},
    "calculate_output": "0.5 * same + 0.5 * kind / 7",
}
RUN = "/v1/fine_tuning/alpha/graders/run"


def run(server: Running, grader: Any, sample: str, item: Any = None, tenant: str = "acme") -> Any:
    asked = {} if item is None else {"item": item}
    graded = server.client(tenant).fine_tuning.alpha.graders.run(grader=grader, model_sample=sample, **asked)
    shown = graded.to_dict()
    conforms(shown, "RunGraderResponse")
    return graded


def flags(graded: Any) -> set[str]:
    return {name for name, value in graded.metadata.errors.to_dict().items() if value is True}


def test_a_grader_runs_on_one_answer(shared: Running) -> None:
    good = run(shared, CHECK, "Paris", {"reference": "Paris"})
    assert (good.reward, good.metadata.name, good.metadata.type) == (1, "same", "string_check")
    assert (flags(good), good.metadata.token_usage, good.metadata.sampled_model_name) == (set(), None, None)
    assert good.metadata.execution_time > 0
    bad = run(shared, CHECK, "Rome", {"reference": "Paris"})
    assert (bad.reward, bad.metadata.passed) == (0, False)


def test_a_model_is_asked_and_its_tokens_are_counted(shared: Running) -> None:
    graded = run(shared, SCORE, "You get a 5.5 from me")
    assert graded.reward == 5.5
    assert graded.metadata.sampled_model_name == "tiny"
    used = graded.metadata.token_usage
    assert used > 10
    assert graded.model_grader_token_usage_per_model == {"tiny": used}


def test_a_multi_grader_shows_its_parts(shared: Running) -> None:
    graded = run(shared, MULTI, "7", {"reference": "7"})
    assert graded.reward == 1
    assert graded.sub_rewards == graded.metadata.scores == {"same": 1, "kind": 7}


@pytest.mark.parametrize(
    ("grader", "sample", "flag", "said"),
    [
        (CHECK, "Paris", "invalid_variable_error", "{{item.reference}} names nothing"),
        ({**CHECK, "input": "{{sample.output_json.a}}"}, "Paris", "sample_parse_error", "not JSON"),
        ({**CHECK, "input": "{{sample.output_json.a}}"}, "{}", "invalid_variable_error", "{{sample.output_"),
        (
            {**SCORE, "sampling_params": {"max_completions_tokens": CONTEXT + 1}},
            "",
            "model_grader_server_error",
            "'tiny'",
        ),
    ],
)
def test_what_cannot_be_graded_has_its_flag_and_a_reason(
    shared: Running, grader: Any, sample: str, flag: str, said: str
) -> None:
    graded = run(shared, grader, sample, {"other": 1})
    assert (graded.reward, flags(graded)) == (0, {flag})
    assert said in graded.metadata.reason
    details = graded.metadata.errors.model_grader_server_error_details
    assert details == (graded.metadata.reason if flag == "model_grader_server_error" else None)


@pytest.mark.parametrize("grader", [CHECK, SCORE, {**MULTI, "graders": CHECK, "calculate_output": "same"}])
def test_a_good_definition_comes_back_as_it_was_sent(shared: Running, grader: Any) -> None:
    answer = shared.client().fine_tuning.alpha.graders.validate(grader=grader).to_dict()
    assert answer == {"grader": grader}
    conforms(answer, "ValidateGraderResponse")


@pytest.mark.parametrize("verb", ["run", "validate"])
def test_a_bad_definition_is_a_400_that_names_the_field(shared: Running, verb: str) -> None:
    graders: Any = shared.client().fine_tuning.alpha.graders
    asked = {"model_sample": "x"} if verb == "run" else {}
    for change, param in (({"operation": "gt"}, "grader.operation"), ({"type": "python"}, "grader.type")):
        with pytest.raises(openai.BadRequestError) as refused:
            getattr(graders, verb)(grader={**CHECK, **change}, **asked)
        assert refused.value.param == param


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model_sample": None}, "model_sample"),
        ({"model_sample": "x" * 70_000}, "model_sample"),
        ({"item": "x"}, "item"),
        ({"itme": {}}, "itme"),
        ({"grader": None}, "grader"),
    ],
)
def test_a_bad_request_is_a_400_that_names_the_field(shared: Running, change: Any, param: str) -> None:
    answer = shared.http().post(RUN, json={"grader": CHECK, "model_sample": "x", **change})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_brand_may_grade_and_another_tenants_may_not(server: Running) -> None:
    version = server.publish("luxe")
    for model in ("luxe", version):
        graded = run(server, {**SCORE, "model": model}, "a 3 then")
        assert (graded.reward, graded.metadata.sampled_model_name) == (3, version)
        server.client().fine_tuning.alpha.graders.validate(grader={**SCORE, "model": model})
        for verb in ("run", "validate"):
            graders: Any = server.client("rival").fine_tuning.alpha.graders
            asked = {"model_sample": "a 3"} if verb == "run" else {}
            with pytest.raises(openai.NotFoundError) as refused:
                getattr(graders, verb)(
                    grader={
                        **MULTI,
                        "graders": {"kind": {**SCORE, "model": model}},
                        "calculate_output": "kind",
                    },
                    **asked,
                )
            assert refused.value.code == "model_not_found"


def test_without_an_engine_plain_graders_work_and_asked_ones_are_told_to_wait(serve: Stage) -> None:
    server = serve(ready=False)
    server.engine.start = _never  # type: ignore[method-assign]
    server.engine.alive = False
    assert run(server, CHECK, "x", {"reference": "x"}).reward == 1
    with pytest.raises(openai.InternalServerError) as refused:
        run(server, SCORE, "x")
    assert refused.value.status_code == 503


async def _never() -> None:
    raise RuntimeError("this engine does not start")


def test_costly_graders_hold_up_nobody_else(shared: Running) -> None:
    """While one tenant's graders take all the time that they may, another's look-ups are answered between."""
    words = " ".join(str(number) for number in range(9000))
    costly = {**CHECK, "type": "text_similarity", "evaluation_metric": "bleu", "reference": words}
    costly.pop("operation")

    def burn() -> None:
        for _ in range(10):
            assert run(shared, costly, words).reward == pytest.approx(1)

    answered = 0
    with ThreadPoolExecutor(1) as threads:
        burning = threads.submit(burn)
        while not burning.done():
            assert shared.http("rival").get("/v1/models").status_code == 200
            answered += 1
    burning.result()
    assert answered > 10
