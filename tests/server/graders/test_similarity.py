"""How alike two texts are: values of the published implementations, and what holds for any two texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.graders.similarity import MAX_FUZZY, METRICS

CAT = ("the cat sat on the mat", "the cat is on the mat")
GUIDE = (
    "It is a guide to action which ensures that the military always obeys the commands of the party",
    "It is a guide to action that ensures that the military will forever heed Party commands",
)
WORDS = st.lists(st.sampled_from(["a", "b", "cat", "42", "é", "字", "!", "."]), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("metric", "texts", "value"),
    [
        # nltk 3.10.4: sentence_bleu with SmoothingFunction().method2, sentence_gleu; the same tokens
        ("bleu", CAT, 0.485492),
        ("bleu", GUIDE, 0.445295),
        ("gleu", CAT, 0.5),
        ("gleu", GUIDE, 0.439394),
        # counted by hand
        ("rouge_1", CAT, 5 / 6),
        ("rouge_2", CAT, 3 / 5),
        ("rouge_3", CAT, 1 / 4),
        ("rouge_4", CAT, 0),
        ("rouge_l", CAT, 5 / 6),
        ("rouge_l", ("a b c", "c b a"), 1 / 3),
        ("rouge_1", ("Été, FIN.", "été fin"), 1),
        ("fuzzy_match", ("Paris", "paris"), 0.8),
        ("fuzzy_match", ("abc", "xyz"), 0),
        ("bleu", ("yes", "no"), 0),
        ("bleu", ("", "no"), 0),
        ("gleu", ("", "no"), 0),
        ("rouge_5", ("a b", "a b"), 0),
        ("rouge_l", ("", ""), 0),
    ],
)
def test_known_values(metric: str, texts: tuple[str, str], value: float) -> None:
    assert METRICS[metric](*texts) == pytest.approx(value, abs=1e-6)


@given(WORDS, WORDS)
@pytest.mark.parametrize("metric", METRICS)
def test_a_similarity_lies_between_0_and_1(metric: str, one: str, other: str) -> None:
    assert 0 <= METRICS[metric](one, other) <= 1


@given(WORDS)
@pytest.mark.parametrize("metric", ["fuzzy_match", "bleu", "gleu"])
def test_a_text_is_wholly_like_itself(metric: str, text: str) -> None:
    assert METRICS[metric](text, text) == pytest.approx(1)


@given(WORDS, WORDS)
@pytest.mark.parametrize("metric", ["fuzzy_match", "gleu", "rouge_1", "rouge_3", "rouge_l"])
def test_the_order_of_the_two_does_not_matter(metric: str, one: str, other: str) -> None:
    assert METRICS[metric](one, other) == pytest.approx(METRICS[metric](other, one))


def test_a_text_too_long_for_the_quadratic_metric_is_refused() -> None:
    with pytest.raises(ValueError, match=str(MAX_FUZZY)):
        METRICS["fuzzy_match"]("a", "b" * (MAX_FUZZY + 1))
