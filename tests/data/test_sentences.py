"""Sentences as questions: how they are told apart, and which are drawn."""

from nestvec.data.sentences import drawn_sentences, sentences

THREE = (
    "We present a new way of cutting vectors. It is shown on four sets of papers (e.g. in Fig. 2). "
    "Our code of 20 bytes finds as much as all of them!"
)


def test_sentences_end_where_one_stops_and_another_starts():
    assert sentences(
        "One two three four five six. Seven is too short. 8 words are in this one here."
    ) == [
        "One two three four five six.",
        "8 words are in this one here.",
    ]


def test_abbreviations_within_do_not_end_one():
    assert sentences("It rose by 3.5 points, i.e. by a third of it.") == [
        "It rose by 3.5 points, i.e. by a third of it."
    ]


def test_white_space_is_folded():
    assert sentences("one two\n three  four five six.") == ["one two three four five six."]


def test_one_sentence_a_text_is_drawn_by_seed():
    texts = [THREE, "Too short a text to ask about.", THREE.replace("We", "They")]
    drawn, rows = drawn_sentences(texts, 10, seed=0)
    assert rows == [0, 2]
    assert all(sentence in sentences(texts[row]) for sentence, row in zip(drawn, rows, strict=True))
    assert (drawn, rows) == drawn_sentences(texts, 10, seed=0)


def test_no_more_are_drawn_than_asked_for():
    drawn, rows = drawn_sentences([THREE] * 50, 7, seed=1)
    assert len(drawn) == len(rows) == 7
    assert rows == sorted(set(rows))
    assert len(set(drawn)) > 1
