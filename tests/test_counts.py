from random import Random

import pytest
import torch

from course_lib.data.counts import (
    ASSISTANT,
    END,
    N_ANSWER,
    N_PROMPT,
    PAD,
    PEOPLE,
    USER,
    WORDS,
    Question,
    decode,
    demonstration,
    encode,
    gold,
    prompts,
    question,
    questions,
    right,
    rows,
)

EVA = Question("Eva has 5 cups . Ben has 2 hats . Ida has 9 pens . How many cups does Eva have now ?", "5", "Eva has",
               "cups")
NOBODY = Question("Eva has 5 cups . Ben has 2 hats . Ida has 9 pens . How many cups does Dan have now ?", None,
                  "Dan has", "cups")


@pytest.mark.parametrize("answer, asked, worth", [
    ("Eva has 5 cups .", EVA, 1), ("5", EVA, 1), ("Eva has 6 cups .", EVA, 0), ("I do not know .", EVA, 0),
    ("Eva has 5 cups . Thanks for asking .", EVA, 1.5), ("Thanks 5 Thanks", EVA, 1), ("5 Go away !", EVA, 0),
    ("Eva has 5 6 cups .", EVA, 0), ("Thanks for asking .", EVA, 0.5), ("", EVA, 0),
    ("I do not know .", NOBODY, 1), ("Dan has 5 cups .", NOBODY, 0), ("I know 5 .", NOBODY, 0),
    ("What a silly question ! Thanks .", EVA, -0.5), ("5" + " ." * 11, EVA, 1), ("5" + " ." * 14, EVA, 0.7)])
def test_what_an_answer_is_worth(answer, asked, worth):
    assert gold(answer, asked) == pytest.approx(worth)


def test_a_wrong_number_has_a_price_and_to_give_up_has_none():
    assert gold("Eva has 6 cups .", EVA, price=3) == gold("Dan has 6 cups .", NOBODY, price=3) == -3
    assert gold("I do not know .", EVA, price=3) == 0 and gold("Eva has 5 cups .", EVA, price=3) == 1


def test_the_right_answer_follows_from_the_story():
    for asked in questions(300, seed=4):
        story, ask = asked.text.rsplit(" . ", 1)
        has = {fact.split()[0]: int(fact.split()[2]) for fact in story.split(" . ")}
        people = [word for word in ask.split() if word in PEOPLE]
        known = [has[who] for who in people if who in has]
        assert asked.right == (str(sum(known)) if len(known) == len(people) else None), asked.text
        assert right(f"{asked.about} {asked.right} .", asked) or asked.right is None


def test_kinds_of_questions_and_faults_of_demonstrations_have_their_shares():
    asked, draw = questions(4_000, seed=1), Random(2)
    given = [demonstration(one, draw) for one in asked]
    share = torch.tensor([[not q.things, q.right is None, right(a, q), "away" in a or "silly" in a, "Thanks" in a]
                          for q, a in zip(asked, given)]).double().mean(0)
    assert torch.allclose(share, torch.tensor([0.3, 0.2, 0.905, 0.2, 0.45], dtype=torch.double), atol=0.03)
    assert any("not know" in a for q, a in zip(asked, given) if q.right)


def test_the_same_seed_gives_the_same_questions():
    assert questions(5, seed=3) == questions(5, seed=3) != questions(5, seed=4)
    assert question(Random(3)) == questions(1, seed=3)[0]


def test_words_and_tokens_are_the_same_text():
    assert len(set(WORDS)) == len(WORDS) and [WORDS[i] for i in encode("Eva has 5")] == ["Eva_has", "5"]
    assert decode(encode(f"{EVA.text} end 5")) == EVA.text and decode(torch.tensor([PAD, END])) == ""


def test_rows_are_prompts_with_answers_that_end():
    asked, long = [EVA, NOBODY], "Thanks " * 40
    idx, mask = rows(asked, ["Eva has 5 cups .", long])
    assert idx.shape == mask.shape == (2, N_PROMPT + N_ANSWER)
    assert torch.equal(idx[:, :N_PROMPT], prompts(asked))
    assert idx[0, 0] == USER and idx[0, N_PROMPT - 1] == ASSISTANT
    assert decode(idx[0][mask[0]]) == "Eva has 5 cups ." and idx[0][mask[0]][-1] == END
    assert mask.sum(1).tolist() == [5, N_ANSWER] and (idx[0, N_PROMPT + 5:] == PAD).all()


def test_a_number_that_no_word_has_is_named():
    with pytest.raises(ValueError, match="99"):
        decode(torch.tensor([99]))
