"""Chorales: the file, the tokens, what is counted, how it sounds and looks."""

import json
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch

from course_lib import chorales as room_56
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.chorales import (
    START,
    Copied,
    continued,
    crossed,
    dissonant,
    first_bar,
    notes,
    outside,
    parallels,
    piano_roll,
    shuffled,
    synthesise,
    table,
    triad,
)
from course_lib.data import build_chorales
from course_lib.data import chorales as data
from course_lib.data.chorales import (
    BAR,
    BEAT,
    END,
    HOLDS,
    OFF,
    PAUSE,
    RANGES,
    REST,
    STEP,
    VOCABULARY,
    ChoraleWindows,
    Piece,
    decode,
    encode,
    load_chorales,
    room,
    transposed,
)
from course_lib.device import seed, seeded
from course_lib.gpt import GPT, fast
from course_lib.metrics import bits_per_byte
from course_lib.ngrams import NGram

matplotlib.use("Agg")
FOLDER = Path(data.__file__).parent


@pytest.fixture(scope="module")
def fine():
    return load_chorales()


@pytest.fixture(scope="module")
def coarse():
    return load_chorales(grid=8)


def a_piece(*chords, pause=(), off=()):
    """Chords of four pitches, each struck anew, in bars of four steps; at steps `off` no beat begins."""
    pitch = torch.tensor(chords)
    place = torch.tensor([BAR if t % 4 == 0 else OFF if t in off else BEAT for t in range(len(chords))])
    return Piece(pitch, pitch > 0, place, torch.tensor([t in pause for t in range(len(chords))]))


def random_piece(n=12, k=0):
    """Any notes, rests and ties."""
    rests = torch.rand(n, 4, generator=seeded(k)) < 0.1
    pitch = torch.randint(48, 70, (n, 4), generator=seeded(k)).masked_fill(rests, 0)
    again = torch.rand(n, 4, generator=seeded(k + 1)) < 0.5
    for t in range(1, n):
        pitch[t] = torch.where(again[t], pitch[t - 1], pitch[t])
    again[0] = False
    return Piece(pitch, ~again & (pitch > 0), torch.arange(n) % 3 + 1, torch.arange(n) % 5 == 4)


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("pitch", "attack", "place", "pause"))


# ---- the file

def test_the_arrays_are_the_recorded_ones_and_the_file_is_small():
    with np.load(FOLDER / "chorales.npz") as d:
        assert build_chorales.fingerprint(dict(d)) == sources()["arrays_sha256"]
    assert (FOLDER / "chorales.npz").stat().st_size <= 120_000


def sources():
    return json.loads((FOLDER / "chorales_sources.json").read_text(encoding="utf-8"))


def test_the_source_is_named_with_its_licence():
    package = sources()["package"]
    assert (package["name"], package["version"], len(package["sha256"])) == ("music21", "10.5.1", 64)
    assert "with the permission of the encoders" in package["licence_text"]
    assert "may not be used for commercial uses" in package["licence_text"] and "Greentree" in sources()["encoding"]


def test_there_are_348_chorales_and_every_note_lies_in_its_voices_range(fine):
    assert (len(fine.train), len(fine.test)) == (314, 34)
    every = torch.cat([piece.pitch for piece in fine.train + fine.test])
    assert every.shape == (74_936, 4)
    for voice, (low, high) in enumerate(RANGES):
        sung = every[every[:, voice] > 0, voice]
        assert (sung.min(), sung.max()) == (low, high)
    assert repr(fine) == "Chorales(train=314 pieces, test=34 pieces)"


def test_the_first_of_the_book_begins_as_in_print(fine):
    piece = next(piece for piece in fine.train + fine.test if piece.number == 1)
    assert (piece.title, piece.bwv, piece.tonic, piece.minor) == ("Aus meines Herzens Grunde", "269", 7, False)
    tune = piece.pitch[piece.attack[:, 0], 0]
    assert tune[:8].tolist() == [67, 67, 74, 71, 69, 67, 67, 69]               # g g d' b a g g a, by eye from the score
    bars = (piece.place == BAR).nonzero()[:, 0]
    assert bars[:4].tolist() == [4, 16, 28, 40]                                # an upbeat of a quarter, then 3/4
    assert repr(piece) == f"Piece({len(piece.pitch)} steps, 'Aus meines Herzens Grunde', BWV 269)"


def test_no_tune_is_on_both_sides_of_the_split(fine):
    def tunes(pieces):
        runs = set()
        for piece in pieces:
            steps = piece.pitch[piece.attack[:, 0], 0].diff().tolist()
            runs |= {tuple(steps[i:i + 12]) for i in range(len(steps) - 11)}
        return runs

    assert len(tunes(fine.test)) > 500
    assert not tunes(fine.train) & tunes(fine.test)
    assert not {piece.title for piece in fine.train} & {piece.title for piece in fine.test}


def test_a_note_that_begins_is_a_note_that_sounds(fine, coarse):
    for piece in (*fine.train, *fine.test, *coarse.train, *coarse.test):
        assert not (piece.attack & (piece.pitch == 0)).any()
        changed = (piece.pitch[1:] != piece.pitch[:-1]) & (piece.pitch[1:] > 0)
        assert piece.attack[1:][changed].all()


def test_a_grid_of_eighths_hears_every_second_sixteenth():
    n = 8
    pitch = torch.arange(60, 60 + n)[:, None].repeat(1, 4)
    pitch[3] = pitch[2]                                                        # struck at 2 and held over 3
    attack = torch.tensor([True, True, True, False, True, False, False, True])[:, None].repeat(1, 4)
    pitch[5], pitch[6] = pitch[4], pitch[4]                                    # struck at 4, held to 6
    piece = Piece(pitch, attack, torch.tensor([BAR, OFF, OFF, OFF, BEAT, OFF, OFF, OFF]),
                  torch.tensor([0, 0, 0, 1, 0, 0, 0, 0]).bool())
    thin = data._coarser(piece, torch.tensor([True, False] * 4))
    assert thin.pitch[:, 0].tolist() == [60, 62, 64, 64]
    assert thin.attack[:, 0].tolist() == [True, True, True, False]
    assert thin.place.tolist() == [BAR, OFF, BEAT, OFF]
    assert thin.pause.tolist() == [False, False, True, False]                  # a fermata in between is not lost
    late = piece._replace(attack=attack.roll(1, 0), pitch=pitch.roll(1, 0))    # what begins in between, begins after
    assert data._coarser(late, torch.tensor([True, False] * 4)).attack[1:, 0].tolist() == [True, True, True]


def test_sixteenths_and_eighths_agree_where_both_sound(fine, coarse):
    for a, b in zip(fine.test, coarse.test):
        assert a.title == b.title and abs(2 * len(b.pitch) - len(a.pitch)) <= 2
        if len(a.pitch) == 2 * len(b.pitch) and a.place[0] != OFF:
            assert torch.equal(a.pitch[::2], b.pitch)


# ---- the builder, on scores made by hand

class Score:
    """As much of a part of music21 as the builder asks for: notes of (offset, quarters, pitch, tie, fermata)."""

    def __init__(self, notes, measures=((0.0, 0.0, 4.0),)):
        self.partName, self.measures = "Soprano", measures
        self.notes = [SimpleNamespace(offset=o, quarterLength=q, pitch=SimpleNamespace(midi=p),
                                      tie=tie and SimpleNamespace(type=tie), expressions=[Fermata()] * fermata)
                      for o, q, p, tie, fermata in notes]
        self.highestTime = max(o + q for o, q, *_ in notes)

    def flatten(self):
        return self

    def getElementsByClass(self, _):
        return [SimpleNamespace(offset=o, paddingLeft=left, barDuration=SimpleNamespace(quarterLength=bar))
                for o, left, bar in self.measures]


class Fermata:
    pass


def test_a_score_is_put_on_a_grid_of_sixteenths():
    part = Score([(0.0, 1.0, 60, None, False), (1.0, 0.5, 62, "start", False), (1.5, 0.5, 62, "stop", False),
                  (2.0, 0.125, 64, None, False), (2.125, 0.125, 65, None, False), (2.25, 0.25, 67, None, True)],
                 measures=((0.0, 3.0, 4.0), (1.0, 0.0, 4.0)))
    grid = build_chorales.on_grid([part] * 4)
    assert grid["pitch"][:, 2].tolist() == [60] * 4 + [62] * 4 + [64, 67]      # 65 lies between two places
    assert np.flatnonzero(grid["attack"][:, 0]).tolist() == [0, 4, 8, 9]       # a tied note is not struck again
    assert np.flatnonzero(grid["pause"]).tolist() == [9]
    assert grid["position"].tolist() == [12, 13, 14, 15, 0, 1, 2, 3, 4, 5] and set(grid["bar"]) == {16}


def test_bars_of_silence_are_cut_out():
    pitch = np.zeros((30, 4), np.uint8)
    pitch[[2, 3, 14]] = 60                                                     # ten silent steps in bars of four
    position = np.arange(30) % 4
    cut = build_chorales.without_silence(dict(pitch=pitch, position=position, bar=np.full(30, 4)))
    assert cut["pitch"][:, 0].tolist() == [60, 60, 0, 0, 60]
    assert cut["position"].tolist() == [2, 3, 0, 1, 2]                         # and bars go on as before


def test_a_title_or_twelve_steps_make_a_family():
    def tune(pitches):
        column = np.array(pitches)
        return dict(pitch=np.stack([column] * 4, 1), attack=np.ones((len(column), 4), bool))

    a = list(range(60, 66)) + [60, 67, 61, 68, 62, 69, 63]                     # 13 notes, 12 steps
    b = [p + 3 for p in a] + [50]                                              # the same, in another key
    c, d = [60, 61] * 7, [60, 62] * 7
    family = build_chorales.families(["one", "two", "three", "three", "five"],
                                     [tune(a), tune(b), tune(c), tune(d), tune(a[:-1])])
    assert family[0] == family[1] and family[2] == family[3]
    assert len({family[0], family[2], family[4]}) == 3


def test_who_sings_is_known_by_the_name_of_the_part():
    def parts(*names):
        return SimpleNamespace(parts=[SimpleNamespace(partName=name) for name in names])

    chosen = build_chorales.choir(parts("Horn 1", "Soprano Oboe 1", "Alto", "Tenor", "Bass", "Continuo"))
    assert [part.partName for part in chosen] == ["Soprano Oboe 1", "Alto", "Tenor", "Bass"]
    assert build_chorales.choir(parts("Soprano 1", "Soprano 2", "Alto", "Tenor", "Bass")) is None
    assert len(build_chorales.choir(parts(None, None, None, None))) == 4


# ---- tokens

def test_the_tokens_of_two_chords_by_hand():
    piece = a_piece((72, 67, 64, 48), (72, 69, 0, 41), pause=(1,))
    piece.attack[1, 0] = False                                                 # the soprano holds its C
    begin, hold = 8 - 36, HOLDS - 36
    assert encode(piece).tolist() == [BAR, 72 + begin, 67 + begin, 64 + begin, 48 + begin,
                                      BEAT + PAUSE, 72 + hold, 69 + begin, REST, 41 + begin,
                                      END, REST, REST, REST, REST]
    assert VOCABULARY == 100 and HOLDS == 54
    assert START.tolist() == encode(piece)[-5:].tolist()


def test_decode_is_the_inverse_of_encode(coarse):
    for piece in [*coarse.test, random_piece(12), random_piece(1, 7)]:
        for end in (True, False):
            assert same(decode(encode(piece, end)), piece)
        assert len(encode(piece)) == STEP * (len(piece.pitch) + 1) == len(encode(piece, end=False)) + STEP
        assert encode(piece).min() >= 0 and encode(piece).max() < VOCABULARY


def test_decode_reads_up_to_the_end_and_whole_steps_only():
    a, b = random_piece(5), random_piece(6, 3)
    assert same(decode(torch.cat([encode(a), encode(b)])), a)
    assert same(decode(encode(b, end=False)[:-2]), b.part(0, 5))
    assert len(decode(START).pitch) == 0


@pytest.mark.parametrize("at, token, words", [
    (5, REST, "token 7 of step 1 cannot be a place in the bar"),
    (7, BEAT, "token 2 of step 1 cannot be what the alto sings"),
    (14, END, "token 0 of step 2 cannot be what the bass sings"),
])
def test_a_token_in_a_wrong_place_is_named(at, token, words):
    idx = encode(random_piece(4))
    idx[at] = token
    with pytest.raises(ValueError, match=words):
        decode(idx)


def test_a_part_keeps_title_and_steps(coarse):
    piece = coarse.test[0]
    assert torch.equal(piece.part(3, 9).pitch, piece.pitch[3:9]) and piece.part(3).title == piece.title
    assert torch.equal(piece.part(3).pause, piece.pause[3:])


def test_transposing_adds_to_the_tokens_of_notes_and_to_no_other():
    piece = random_piece(20, 4)._replace(tonic=11)
    assert (piece.pitch == 0).any()
    higher = transposed(piece, 3)
    moved, idx = encode(higher), encode(piece)
    assert torch.equal(moved - idx, 3 * (idx > REST).long())
    assert same(transposed(higher, -3), piece) and higher.tonic == (piece.tonic + 3) % 12


def test_the_room_is_what_the_voices_can_bear(coarse):
    low, high = torch.tensor(RANGES).T

    def fits(piece):
        return all(((p == 0) | ((p >= a) & (p <= b))).all() for p, a, b in zip(piece.pitch.T, low, high))

    for piece in coarse.train[:40]:
        down, up = room(piece)
        assert down <= 0 <= up and fits(transposed(piece, down)) and fits(transposed(piece, up))
        assert not fits(piece._replace(pitch=torch.where(piece.pitch > 0, piece.pitch + up + 1, 0)))
        assert not fits(piece._replace(pitch=torch.where(piece.pitch > 0, piece.pitch + down - 1, 0)))


def test_windows_are_pieces_of_the_text_and_begin_at_a_step():
    pieces = [random_piece(9, k) for k in range(4)]
    seed(0)
    windows = ChoraleWindows(pieces, batch_size=3, n_step=4, moved=False)
    texts = ["".join(map(chr, encode(piece).tolist())) for piece in pieces]
    assert len(windows) == 4 * 10 // 12
    for (idx,) in windows:
        assert idx.shape == (3, 21) and idx.dtype == torch.int64
        for row in idx.tolist():
            assert row[0] < REST and row[20] < REST and all(row[i] >= REST for i in (1, 4, 6, 19))
            parts = "".join(map(chr, row[:20])).split("".join(map(chr, START.tolist())))
            assert all(any(part in text for text in texts) for part in parts)


def test_every_epoch_is_in_other_keys():
    piece = a_piece(*[(72, 65, 60, 50)] * 8)                                   # may move from -12 to +9
    assert room(piece) == (-12, 9)
    seed(0)
    windows = ChoraleWindows([piece, piece], batch_size=1, n_step=2)
    chords = {tuple(idx[0, 1:5].tolist()) for _ in range(60) for (idx,) in windows if idx[0, 0] != END}
    keys = {chord[0] for chord in chords}
    assert len(keys) >= 18 and max(keys) - min(keys) <= 21
    assert all(chord[0] - chord[3] == 22 for chord in chords)                  # all four voices together


# ---- counting

def test_parallels_by_hand():
    fifths = a_piece((67, 60, 0, 0), (69, 62, 0, 0))                           # c-g to d-a
    assert parallels(fifths, 7) == 1 and parallels(fifths, 0) == 0
    octaves = a_piece((72, 0, 0, 48), (74, 0, 0, 50))
    assert parallels(octaves, 0) == 1 and parallels(octaves, 7) == 0
    assert parallels(a_piece((67, 60, 0, 0), (67, 60, 0, 0)), 7) == 0          # nobody moves
    assert parallels(a_piece((67, 60, 0, 0), (67, 60, 0, 0), (69, 62, 0, 0)), 7) == 1
    contrary = a_piece((67, 60, 0, 0), (62, 67, 0, 0))
    assert parallels(contrary, 7) == 0                                         # fourths are none, nor crossing
    assert parallels(a_piece((79, 60, 0, 0), (69, 62, 0, 0)), 7) == 0          # a fifth to a fifth, in contrary motion
    assert parallels(a_piece((67, 60, 0, 0), (0, 0, 0, 0), (69, 62, 0, 0)), 7) == 0


def test_counts_are_those_of_a_plain_loop():
    for k in range(20):
        piece = random_piece(30, k)
        fifths, rough, cross = 0, [], []
        for t, chord in enumerate(piece.pitch.tolist()):
            pairs = [(a, b) for a, b in combinations(range(4), 2) if chord[a] and chord[b]]
            rough.append(any((chord[a] - chord[b]) % 12 in (1, 2, 6, 10, 11) for a, b in pairs))
            cross.append(any(chord[a] < chord[a + 1] for a in range(3) if chord[a]))
            if t:
                old = piece.pitch[t - 1].tolist()
                for a, b in pairs:
                    if old[a] and old[b] and (old[a] - old[b]) % 12 == (chord[a] - chord[b]) % 12 == 7:
                        fifths += (chord[a] - old[a]) * (chord[b] - old[b]) > 0
        assert parallels(piece, 7) == fifths
        assert dissonant(piece).tolist() == rough
        assert crossed(piece).tolist() == cross


def test_triads_in_root_position():
    chords = [(72, 67, 64, 48), (72, 67, 63, 48), (72, 64, 60, 48), (72, 67, 60, 48), (72, 67, 64, 52),
              (70, 67, 64, 48), (72, 66, 63, 48), (72, 64, 63, 48), (0, 67, 64, 48)]
    #         C major, C minor, no fifth, no third, third in the bass, a seventh, diminished, both thirds, a rest
    assert triad(a_piece(*chords)).tolist() == [True, True, True] + [False] * 6


def test_notes_that_no_chorale_asks_for_are_outside():
    piece = a_piece((82, 60, 60, 50), (56, 52, 70, 65), (57, 74, 48, 36), (0, 0, 0, 0))
    assert outside(piece).tolist() == [[True, False, False, False], [True] * 4, [False] * 4, [False] * 4]


def test_the_table_by_hand():
    piece = a_piece((72, 67, 64, 48), (74, 67, 65, 50), (74, 69, 62, 50), (74, 69, 65, 50), pause=(1, 3), off=(1,))
    # the first step: soprano and bass C to D, octaves; then nothing, then the tenor alone
    assert table([piece]) == pytest.approx({
        "parallel fifths": 0, "parallel octaves": 100 / 3, "dissonant beats": 0, "crossed voices": 0, "out of range": 0,
        "repeated notes": 100 * 6 / 16, "pauses": 100 * 2 / 3, "pauses on a triad": 50, "rests": 0})
    twice = table([piece, piece])
    assert twice == pytest.approx(table([piece]))


def test_bach_and_chance_are_far_apart(coarse):
    real = table(coarse.test)
    mixed = table([shuffled(piece, seeded(0)) for piece in coarse.test])
    assert real["parallel fifths"] < 0.5 and real["parallel octaves"] < 0.5 and real["pauses on a triad"] > 90
    assert mixed["parallel fifths"] > 4 and mixed["parallel octaves"] > 4 and mixed["pauses on a triad"] < 15
    assert 20 < real["dissonant beats"] < 35 and mixed["dissonant beats"] > 70


def test_shuffling_moves_voices_by_whole_bars_and_changes_no_melody(coarse):
    piece = coarse.test[0]
    mixed, bars = shuffled(piece, seeded(3)), (piece.place == BAR).nonzero()[:, 0]
    allowed, shifts = {int(b - bars[0]) for b in bars}, []
    for voice in range(4):
        fits = [s for s in allowed if torch.equal(piece.pitch[:, voice].roll(-s), mixed.pitch[:, voice])
                and torch.equal(piece.attack[:, voice].roll(-s), mixed.attack[:, voice])]
        assert fits
        shifts += fits[:1]
    assert len(set(shifts)) == 4 and torch.equal(mixed.place, piece.place)


def test_the_longest_copied_run_is_that_of_a_plain_search():
    a = random_piece(40, 1)
    b = random_piece(30, 2)
    b = b._replace(pitch=torch.cat([b.pitch[:10], a.pitch[20:33] + 2 * (a.pitch[20:33] > 0), b.pitch[23:]]))
    copied = Copied([random_piece(25, 5), a])
    assert copied.longest(b) == longest_by_brute_force(b, a) >= 13             # in another key
    assert copied.longest(a) == 40 and copied.longest(a.part(7, 20)) == 13
    assert copied.longest(random_piece(1, 9)._replace(pitch=torch.tensor([[99, 50, 20, 1]]))) == 0


def longest_by_brute_force(a, b):
    def equal(i, j, n):
        x, y = a.pitch[i:i + n], b.pitch[j:j + n]
        d = (x - y)[(x > 0) & (y > 0)]
        return torch.equal(x == 0, y == 0) and (not len(d) or bool((d == d[0]).all()))

    return max(n for n in range(1, 31) for i in range(len(a.pitch) - n + 1) for j in range(len(b.pitch) - n + 1)
               if equal(i, j, n))


# ---- sound and picture

def test_notes_put_on_a_grid_again_are_the_piece():
    for k in range(10):
        piece = random_piece(20, k)
        pitch, attack = torch.zeros_like(piece.pitch), torch.zeros_like(piece.attack)
        for voice, begin, end, p in notes(piece).tolist():
            assert begin < end and (pitch[begin:end, voice] == 0).all()
            pitch[begin:end, voice] = p
            attack[begin, voice] = True
        assert torch.equal(pitch, piece.pitch) and (attack | ~piece.attack).all()
        assert (attack == piece.attack).all() or (piece.pitch[0] > 0).any()
    assert notes(a_piece((0, 0, 0, 0))).shape == (0, 4)


def test_a_note_sounds_at_its_frequency_and_whole_multiples_of_it():
    piece = a_piece(*[(0, 69, 0, 0)] * 4)
    piece.attack[1:] = False
    sound = synthesise(piece, seconds=0.25, n_harmonic=3)
    assert len(sound) == 8_000 + 480 and sound.abs().max() == pytest.approx(0.9)
    spectrum = torch.fft.rfft(sound[800:7_200] * torch.hann_window(6_400)).abs()          # 1.25 Hz a row
    peaks = [int(spectrum[k - 100:k + 100].argmax()) + k - 100 for k in (352, 704, 1056)]  # 440, 880, 1320 Hz
    assert all(abs(p - k) <= 1 for p, k in zip(peaks, (352, 704, 1056)))
    loud = spectrum[peaks]
    assert torch.allclose(loud / loud[0], torch.tensor([1, 2**-1.5, 3**-1.5]), rtol=0.02)
    assert spectrum[1_300:].max() < 0.01 * loud[0]
    assert sound[-1].abs() < 1e-6 and sound[0].abs() < 1e-3                    # it begins and ends in silence


def test_what_the_rate_cannot_hold_is_left_out():
    piece = a_piece(*[(81, 0, 0, 0)] * 4)                                      # 880 Hz: 4 harmonics fit below 4,000
    piece.attack[1:] = False
    assert torch.equal(synthesise(piece, n_harmonic=4), synthesise(piece, n_harmonic=40))


def test_notes_begin_where_their_step_begins_and_rests_are_silent():
    piece = a_piece((0, 0, 0, 0), (0, 0, 0, 57), (0, 0, 0, 0), (0, 0, 0, 0))
    sound = synthesise(piece, seconds=0.5)
    assert (sound[:4_000] == 0).all() and sound[4_000:4_400].abs().max() > 0.5 and (sound[8_480:] == 0).all()
    assert (synthesise(a_piece((0, 0, 0, 0))) == 0).all()


def test_a_piano_roll_shows_every_note_in_its_voices_colour(coarse):
    piece = coarse.test[0].part(0, 24)
    ax = piano_roll(piece, given=10, title="x")
    bars = [(round(b.get_x()), round(b.get_y() + b.get_height() / 2), b.get_facecolor())
            for container in ax.containers for b in container]
    assert [(x, y) for x, y, _ in bars] == [(begin, pitch) for _, begin, _, pitch in notes(piece).tolist()]
    assert len({colour for *_, colour in bars}) == 4 and ax.get_title(loc="left") == "x"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == list(data.VOICES)
    matplotlib.pyplot.close("all")


# ---- writing

def test_the_first_bar_ends_at_the_second_bar_line():
    piece = a_piece(*[(72, 67, 64, 48)] * 10)
    assert len(first_bar(piece).pitch) == 4
    assert len(first_bar(piece.part(2)).pitch) == 6                            # with an upbeat of two steps
    assert len(first_bar(piece.part(5, 8)).pitch) == 3                         # no second bar


def test_a_continuation_begins_with_what_was_given(coarse, monkeypatch):
    step = encode(coarse.test[0].part(4, 5), end=False)

    def writes(model, prompts, n_new, temperature, generator):
        assert n_new == 15 and all(torch.equal(p[:5], START) for p in prompts) and temperature == 0.7
        return step.repeat(len(prompts), 3)

    monkeypatch.setattr(room_56, "generate", writes)
    begun = [first_bar(piece) for piece in coarse.test[:3]]
    for piece, given in zip(continued(None, begun, 3, 0.7), begun):
        assert same(piece.part(0, len(given.pitch)), given) and len(piece.pitch) == len(given.pitch) + 3
        assert torch.equal(piece.pitch[-1], coarse.test[0].pitch[4])


def test_a_piece_that_cannot_be_read_is_written_again(coarse, monkeypatch):
    step, calls = encode(coarse.test[0].part(4, 5), end=False), []

    def writes(model, prompts, n_new, temperature, generator):
        calls.append(len(prompts))
        rows = step.repeat(len(prompts), 2)
        if len(calls) < 3:
            rows[-1, 7] = BAR                                                  # the last piece of each batch
        return rows

    monkeypatch.setattr(room_56, "generate", writes)
    begun = [first_bar(piece) for piece in coarse.test[:3]]
    pieces = continued(None, begun, 2)
    assert calls == [3, 1, 1] and all(same(p.part(0, len(b.pitch)), b) for p, b in zip(pieces, begun))


def test_a_model_that_cannot_spell_is_told_so(coarse):
    seed(0)
    model = GPT(fast(vocab_size=VOCABULARY, block_size=40, n_layer=1, n_head=1, n_embd=8)).eval()
    with pytest.raises(ValueError, match="1 of 1 pieces still"):
        continued(model, [first_bar(coarse.test[0])], 4, generator=seeded(0))


def test_the_checkpoint_needs_the_bits_that_it_claims_and_far_fewer_than_counting(coarse):
    model, claimed = load_checkpoint("chorales"), metadata("chorales")
    train, test = (torch.cat([START] + [encode(piece) for piece in part]) for part in coarse)
    bits = bits_per_byte(model, test, block_size=320, stride=160)
    assert bits == pytest.approx(claimed["metrics"]["bits_per_token"], abs=0.005)
    assert bits < 0.6 * NGram(train, 6).bits_per_byte(test)
    assert len(claimed["trials"]) == 5 and all(len(trial["longest runs"]) == 34 for trial in claimed["trials"])


def test_the_checkpoint_goes_on_in_the_same_key_whatever_it_is(coarse):
    """What it writes after an opening that was moved is as likely as what it writes after the opening itself."""
    model, piece = load_checkpoint("chorales"), coarse.test[0]
    moved = [float(bits_per_byte(model, torch.cat([START, encode(transposed(piece, k))]), 320)) for k in (-3, 0, 2)]
    assert max(moved) - min(moved) < 0.25 * min(moved)
