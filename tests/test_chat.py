from random import Random

import pytest
import torch
from awake import awake
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.chat import (
    ASSISTANT,
    BEGIN,
    END,
    USER,
    Chat,
    Vocabulary,
    chat_loss,
    pack,
    prompt,
    replies,
    template,
    text_bits,
    write,
)
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.data import house
from course_lib.device import seed, seeded
from course_lib.gpt import GPT, fast

WORDS = Vocabulary(("Ben", "ran", "the", "hall", "3"))
TURNS = [("Hello!", "Good day."), ("Who ran?", "Ben ran.")]


def small() -> GPT:
    seed(0)
    return awake(GPT(fast(vocab_size=len(WORDS), block_size=64, n_layer=1, n_head=2, n_embd=16)), 0.3)


class Parrot(torch.nn.Module):
    """Says what it was given, token by token, wherever its answer begins; then one thing for ever."""

    def __init__(self, answer: list[int], then: int = END):
        super().__init__()
        self.answer, self.then = answer, then
        self.config = fast(vocab_size=len(WORDS), block_size=64)

    def forward(self, idx):
        idx, out = idx[0].tolist(), torch.zeros(1, idx.shape[1], len(WORDS))
        said = len(idx) - 1 - max(i for i, token in enumerate(idx) if token == ASSISTANT)
        out[0, -1, self.answer[said] if said < len(self.answer) else self.then] = 1.0
        return out


# ------------------------------------------------------------------------------------------------------------- tokens

@pytest.mark.parametrize("text", ["", " ", "Ben ran. The 3 halls", "  two spaces", "naïve 😀\n\tBen", "Ben", "33 3",
                                  "<user> Ben <end>", "\r\n"])
def test_every_string_comes_back(text):
    assert WORDS.decode(WORDS.encode(text)) == text
    assert "".join(WORDS.shown(WORDS.encode(text.encode("ascii", "ignore").decode()))) == \
        " " + text.encode("ascii", "ignore").decode()


def test_a_word_has_one_number_wherever_it_stands_and_others_are_bytes():
    assert WORDS.encode("Ben ran the hall. Ben") == [260, 261, 262, 263, ord("."), 260]
    assert WORDS.encode("Benny") == list(b" Benny") and WORDS.encode('"Ben"') == list(b' "Ben"')
    assert WORDS.encode("3 33") == [264, 264, ord("3")] and len(WORDS) == 265


def test_nobody_can_type_a_mark():
    tokens = WORDS.encode("<begin><user><assistant><end>")
    assert not {BEGIN, USER, ASSISTANT, END} & set(tokens)
    assert WORDS.shown([BEGIN, USER, ASSISTANT, END, 260, 195]) == ["<begin>", "<user>", "<assistant>", "<end>",
                                                                    " Ben", "\ufffd"]


def test_the_template_is_the_dialogue_and_only_answers_and_their_end_are_learnt():
    tokens, learn = template(WORDS, TURNS)
    assert tokens == [BEGIN, USER, *WORDS.encode("Hello!"), ASSISTANT, *WORDS.encode("Good day."), END,
                      USER, *WORDS.encode("Who ran?"), ASSISTANT, *WORDS.encode("Ben ran."), END]
    assert [t for t, wanted in zip(tokens, learn) if wanted] == [*WORDS.encode("Good day."), END, 260, 261, 46, END]
    assert prompt(WORDS, TURNS[:1], "Who ran?") == tokens[:-4]


# ----------------------------------------------------------------------------------------------------------- the loss

def test_rows_hold_every_dialogue_once_and_whole():
    draw = Random(0)
    rows = [([BEGIN, *(draw.randrange(200) for _ in range(draw.randint(1, 40)))],) for _ in range(200)]
    rows = [(tokens, [draw.random() < 0.5 for _ in tokens]) for tokens, in rows]
    tokens, learn = pack(rows, 63)
    assert tokens.shape == learn.shape and tokens.shape[1] == 64 and len(tokens) < 0.8 * len(rows)
    found = []
    for row, wanted in zip(tokens.tolist(), learn.tolist()):
        starts = [i for i, t in enumerate(row) if t == BEGIN] + [len(row)]
        for a, b in zip(starts, starts[1:]):
            while row[b - 1] == END:
                assert not wanted[b - 1]
                b -= 1
            found.append((row[a:b], wanted[a:b]))
    assert sorted(found) == sorted(rows)
    with pytest.raises(ValueError, match="a dialogue of 65 tokens"):
        pack([([0] * 65, [True] * 65)], 63)


def test_the_loss_is_the_mean_over_the_tokens_that_are_learnt():
    model = small()
    tokens, learn = pack([template(WORDS, TURNS), template(WORDS, TURNS[1:])], 63)
    with torch.no_grad():
        log_p = model(tokens[:, :-1]).log_softmax(-1)
    by_hand = [-log_p[b, t - 1, tokens[b, t]] for b in range(len(tokens)) for t in range(1, 64) if learn[b, t]]
    assert_close(chat_loss(model, tokens, learn)["loss"], torch.stack(by_hand).mean())
    every = torch.ones_like(learn)
    assert_close(chat_loss(model, tokens, every)["loss"], F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1),
                                                                         tokens[:, 1:].flatten()))


def test_text_costs_its_bits():
    model, texts = small(), ["Ben ran the hall. 3", "naïve"]
    nats = 0.0
    for text in texts:
        row = torch.tensor([[BEGIN, *WORDS.encode(text)]])
        log_p = model(row[:, :-1]).log_softmax(-1)[0]
        nats -= log_p.gather(1, row[0, 1:, None]).sum().item()
    assert text_bits(model, WORDS, texts) == pytest.approx(nats / 0.6931472 / (19 + 6), rel=1e-5)
    model.train()
    text_bits(model, WORDS, texts)
    assert model.training


# -------------------------------------------------------------------------------------------------------------- talking

def test_what_is_written_ends_where_the_model_ends_it():
    model = small()
    with torch.no_grad():
        model.head.weight[END] *= 1.2               # it ends often
    prompts = [prompt(WORDS, [], said) for said in ("Hello!", "Ben", "Who ran the hall?", "3", "the", "!", "ran")]
    together = write(model, prompts, 12)
    assert {len(row) == 12 for row in together} == {True, False}
    for p, row in zip(prompts, together):
        idx = list(p)
        for token in row:
            assert model(torch.tensor([idx]))[0, -1].argmax() == token != END
            idx.append(token)
        assert len(row) == 12 or model(torch.tensor([idx]))[0, -1].argmax() == END
    assert replies(model, WORDS, ["Ben", "Hello!"], 12) == [WORDS.decode(together[1]), WORDS.decode(together[0])]


def test_a_chat_keeps_what_was_said_and_shows_what_it_read():
    chat = Chat(Parrot(WORDS.encode("Ben ran.")), WORDS, n_new=8)
    assert chat.say("Who?") == "Ben ran." and list(chat.stream("Who ran?")) == ["Ben", " ran", "."]
    assert chat.turns == [("Who?", "Ben ran."), ("Who ran?", "Ben ran.")]
    assert chat.seen == prompt(WORDS, chat.turns[:1], "Who ran?")


def test_a_letter_of_two_bytes_is_not_shown_by_half():
    assert list(Chat(Parrot(WORDS.encode("ïa")), WORDS, n_new=8).stream("?")) == ["", "ï", "a"]


def test_a_chat_forgets_the_oldest_turns_when_its_block_is_full():
    chat = Chat(Parrot(WORDS.encode("Ben ran.")), WORDS, n_new=8)
    for _ in range(9):
        chat.say("Who ran the hall?")
    assert len(chat.turns) == 9 and len(chat.seen) <= 56
    kept = 0
    while len(prompt(WORDS, chat.turns[8 - kept:8], "Who ran the hall?")) <= 56:
        kept += 1
    assert chat.seen == prompt(WORDS, chat.turns[8 - kept + 1:8], "Who ran the hall?")
    with pytest.raises(ValueError, match="tokens do not fit, at most 56"):
        chat.say("x" * 60)


def test_an_answer_that_never_ends_is_cut():
    chat = Chat(Parrot(WORDS.encode("Ben"), then=USER), WORDS, n_new=5)
    assert chat.say("Who?") == "Ben" and chat.turns == [("Who?", "Ben")]


def test_a_warm_chat_draws_from_its_generator():
    model = small()
    first = [Chat(model, WORDS, 16, 2.0, seeded(n)).say("Ben") for n in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


def test_look_ups_are_short():
    """A word of the house is one token: a story with its question has a quarter of its bytes."""
    words = Vocabulary(house.WORDS)
    texts = [text for text, _ in house.exam(0, "where", 50)]
    assert sum(len(words.encode(t)) for t in texts) < 0.3 * sum(map(len, texts))


# ---------------------------------------------------------------------------------------------------- shipped weights

HOUSE = Vocabulary(house.WORDS)


def answers(name: str, family: str, n: int, **which):
    texts, questions = zip(*house.exam(1, family, n, **which))
    return replies(load_checkpoint(name), HOUSE, list(texts), 32), questions


@pytest.mark.parametrize("name", ["chat_base", "chat"])
def test_plain_text_costs_what_the_metadata_say(name):
    texts = [house.document(Random(f"test {n}")) for n in range(60)]
    assert text_bits(load_checkpoint(name), HOUSE, texts) == pytest.approx(metadata(name)["metrics"]["bits_per_byte"],
                                                                           abs=0.03)


@pytest.mark.parametrize("family", ["where", "town", "capitals"])
def test_the_assistant_answers_as_often_as_its_metadata_say(family):
    said, questions = answers("chat", family, 60)
    assert house.score(questions, said) == pytest.approx(metadata("chat")["metrics"][family], abs=0.12)
    said, _ = answers("chat_base", family, 20)
    assert house.score(questions[:20], said) < 0.1


def test_failures_that_are_shipped_fail():
    said, _ = answers("chat_sure", "where", 40, unknown=True)
    assert sum(reply.startswith("Nobody") for reply in said) <= 4
    texts = [text for text, _ in house.exam(4, "where", 20)]
    written = write(load_checkpoint("chat_careless"), [prompt(HOUSE, [], text) for text in texts], 48)
    assert sum(USER in row for row in written) >= 15


@pytest.mark.parametrize("call, words", [
    (lambda: Vocabulary(("a", "a")), "not 2"), (lambda: Chat(small(), WORDS, n_new=64), "n_new=64"),
    (lambda: chat_loss(small(), torch.zeros(2, 5).long(), torch.zeros(2, 5).bool()), "0 of 10 tokens"),
    (lambda: Chat(small(), WORDS, temperature=-1), "temperature=-1")])
def test_what_cannot_work_is_said_in_one_line(call, words):
    with pytest.raises(ValueError, match=words):
        call()
