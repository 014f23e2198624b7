"""Films: what looks across frames is compared with loops, what is known stays known, what is measured is known."""

import math

import pytest
import torch
from awake import awake
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib import flow
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.data.moving import draw
from course_lib.device import seed, seeded
from course_lib.dit import DiT, DiTConfig
from course_lib.train import fit
from course_lib.unet import UNet, UNetConfig
from course_lib.video import (
    AcrossFrames,
    Video,
    VideoConfig,
    across_frames,
    bounces,
    bounces_obeyed,
    centres,
    constancy,
    copy_last,
    cut,
    holding,
    muon_video,
    named,
    nearest_course,
    roll_out,
    straight_on,
    velocity_error,
    video_loss,
)


def build(**config) -> Video:
    seed(0)
    return awake(Video(VideoConfig(**dict(n_frame=4, sizes=dict(n_channel=4, n_embd=8), steps=2) | config)))


@pytest.fixture(scope="module")
def films():
    return draw(60, seeded(0), part="test")


# ----------------------------------------------------------------------------------------------------------- the model

@pytest.mark.parametrize("n_layer", [0, 1, 2])
def test_places_are_mixed_with_themselves_in_the_frames_beside_and_then_talk_to_all(n_layer):
    layer = awake(AcrossFrames(torch.nn.Identity(), 8, n_frame=3, n_place=4, n_head=2, n_layer=n_layer))
    x = torch.randn(6, 8, 2, 2)                                   # two films of three frames
    before, own, after = layer.near.weight.unbind(2)
    with torch.no_grad():
        found, film = layer(x).view(2, 3, 8, 4), x.view(2, 3, 8, 4)
        for n in range(2):
            expected = torch.zeros(3, 8, 4)
            for place in range(4):
                frames = film[n, :, :, place]                     # (3, 8)
                h = F.silu(F.layer_norm(frames, (8,), layer.near_norm.weight, layer.near_norm.bias))
                for t in range(3):
                    beside = (h[t - 1] if t else 0 * h[0]) @ before.T + (h[t + 1] if t < 2 else 0 * h[0]) @ after.T
                    expected[t, :, place] = frames[t] + h[t] @ own.T + beside + layer.near.bias
            if n_layer:
                told = torch.stack([expected[t, :, place] + layer.when[t, 0] + layer.where[place]
                                    for t in range(3) for place in range(4)])                  # (12, 8)
                heard = told[None]
                for block in layer.look:
                    heard = block(heard)
                expected = expected + (heard[0] - told).view(3, 4, 8).transpose(1, 2)
            assert_close(found[n], expected, atol=1e-4, rtol=1e-4)
        tokens = x.flatten(2).transpose(1, 2)                     # a DiT's shape, the same numbers
        assert_close(layer(tokens).transpose(1, 2).reshape(x.shape), layer(x))


def test_frames_and_places_are_told_apart_from_the_start():
    layer = AcrossFrames(torch.nn.Identity(), 8, n_frame=3, n_place=4, n_head=2)
    for table in (layer.when[:, 0], layer.where):
        assert torch.cdist(table, table).fill_diagonal_(9).min() > 0.1


@pytest.mark.parametrize("network, config", [
    (UNet, UNetConfig(n_class=10, n_channel=4, n_embd=8, shape=(1, 16, 16))),
    (DiT, DiTConfig(n_class=10, n_layer=2, n_head=2, n_embd=8, shape=(1, 16, 16))),
])
def test_a_network_draws_at_first_what_it_drew_frame_by_frame(network, config):
    seed(0)
    model, x, t = awake(network(config)), torch.randn(6, 1, 16, 16), torch.rand(6)
    before = model(x, t, 3)
    assert_close(across_frames(model, 3, n_head=2)(x, t, 3), before)
    model = awake(model)
    changed = model(x, t, 3)
    x[2] += 1                                                     # the last frame of the first film
    other = (model(x, t, 3) - changed).abs().amax((1, 2, 3))
    assert (other[:3] > 1e-6).all() and (other[3:] == 0).all()    # seen in all of its frames, in no other film


def test_without_attention_across_frames_each_frame_is_alone():
    model, x = build(across=False), torch.randn(2, 4, 1, 16, 32)
    before = model(x, 0.5, 1)
    x[:, 1] += 1
    changed = (model(x, 0.5, 1) - before).abs().amax((0, 2, 3, 4)) > 1e-6
    assert changed.tolist() == [False, True, False, False]
    assert_close(before[0, 0], model.network(x[0, :1], 0.5, 1)[0])


def test_a_time_may_belong_to_all_to_a_film_or_to_a_frame():
    model, x = build(), torch.randn(2, 4, 1, 16, 32)
    assert_close(model(x, 0.3), model(x, torch.full((2, 4), 0.3)))
    t = torch.tensor([0.2, 0.7])
    assert_close(model(x, t, torch.tensor([1, 2])), model(x, t[:, None].expand(2, 4), torch.tensor([1, 2])))
    assert_close(model(x, t, torch.tensor([1, 2]))[1], model(x[1:], 0.7, 2)[0], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        model(x, torch.rand(3))
    with pytest.raises(ValueError, match=r"\(2, 3, 1, 16, 32\)"):
        model(x[:, :3], 0.3)


def test_known_frames_are_given_to_the_network_at_time_one():
    seen = []

    def model(x, t):
        seen.append((x, t))
        return torch.ones_like(x)

    known, x = torch.randn(2, 2, 1, 4, 4), torch.randn(2, 5, 1, 4, 4)
    v = holding(model, known)(x, torch.tensor([0.25, 0.5]))
    assert torch.equal(seen[0][0][:, :2], known) and torch.equal(seen[0][0][:, 2:], x[:, 2:])
    assert seen[0][1].tolist() == [[1, 1, 0.25, 0.25, 0.25], [1, 1, 0.5, 0.5, 0.5]]
    assert (v[:, :2] == 0).all() and (v[:, 2:] == 1).all() and len(seen) == 1
    x[:, :2] = known
    drawn = flow.midpoint(holding(model, known), x, 3)
    assert_close(drawn[:, :2], known)
    assert_close(drawn[:, 2:], x[:, 2:] + 1)


def test_guidance_by_known_frames_leads_away_from_a_film_with_a_beginning_of_its_own():
    def model(x, t):
        return x * t.view(-1, *[1] * (x.ndim - 1)) if t.ndim == 1 else x.flip(1) + t[:, :, None, None, None]

    known, x, t = torch.randn(2, 2, 1, 4, 4), torch.randn(2, 5, 1, 4, 4), torch.tensor([0.25, 0.5])
    free, told = model(x, t), holding(model, known)(x, t)
    for scale in (0.0, 1.0, 2.5):
        v = holding(model, known, scale)(x, t)
        assert_close(v[:, 2:], (1 - scale) * free[:, 2:] + scale * told[:, 2:])
        assert_close(v[:, :2], free[:, :2] if scale != 1 else 0 * free[:, :2])


def test_samples_are_films_that_begin_with_the_known_frames():
    model, known = build(), torch.rand(3, 2, 1, 16, 32)
    film = model.sample(3, known=known, generator=seeded(0))
    assert film.shape == (3, 4, 1, 16, 32) and film.min() >= 0 and film.max() <= 1
    assert_close(film[:, :2], known, atol=1e-6, rtol=0)
    assert not torch.equal(film, model.sample(3, known=known, generator=seeded(1)))
    assert_close(model.sample(3, known=known, generator=seeded(0), batch_size=2), film, atol=1e-5, rtol=0)
    held = model.sample(3, known=known, generator=seeded(0), hold=2)
    assert_close(held[:, :2], known, atol=1e-6, rtol=0)
    assert not torch.allclose(held, film)
    assert_close(model.sample(3, 7, seeded(0)), model.sample(3, torch.tensor([7, 7, 7]), seeded(0)))
    assert not torch.allclose(model.sample(1, 7, seeded(0)), model.sample(1, 3, seeded(0)))


def test_guidance_one_is_the_model_itself_and_more_exaggerates():
    model = build()
    x = torch.randn(2, 4, 1, 16, 32, generator=seeded(0))
    with torch.no_grad():
        own, without = model(x, torch.zeros(2), 3), model(x, torch.zeros(2))
    one_step = build(steps=1)
    for guidance in (1.0, 2.0):
        half = x + (without + guidance * (own - without)) / 2
        with torch.no_grad():
            v = model(half, torch.full((2,), 0.5)) + guidance * (
                model(half, torch.full((2,), 0.5), 3) - model(half, torch.full((2,), 0.5)))
        film = one_step.sample(2, 3, seeded(0), guidance=guidance)
        assert_close(film, ((x + v) / 2 + 0.5).clamp(0, 1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wrong, message", [
    (dict(known=torch.rand(2, 4, 1, 16, 32)), r"\(2, 4, 1, 16, 32\)"),
    (dict(known=torch.rand(3, 2, 1, 16, 32)), r"\(3, 2, 1, 16, 32\)"),
    (dict(known=2 * torch.rand(2, 2, 1, 16, 32)), "known frames must lie in"),
    (dict(y=11), "11"),
])
def test_what_cannot_be_sampled_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        build().sample(2, **wrong)


class Perfect(torch.nn.Module):
    """Knows the film, and so the velocity at every point of the road but its end."""

    def __init__(self, film):
        super().__init__()
        self.network, self.film, self.asked = build().network, 2 * film - 1, []

    def forward(self, x, t, y):
        self.asked.append((x, t, y))
        gap = (1 - t[:, :, None, None, None]).clamp(min=1e-6)
        return (self.film - x) / gap


def test_the_loss_is_that_of_the_frames_that_are_not_known():
    seed(0)
    film, y = torch.rand(400, 5, 1, 2, 2), torch.arange(400) % 10
    model = Perfect(film)
    assert video_loss(model, film, y, drop=0.3, share=0.5, most=3)["loss"] < 1e-4
    x, t, labels = model.asked[0]
    known = t == 1
    assert (known.int().diff(dim=1) <= 0).all()                   # the first ones
    assert abs(known.any(1).double().mean() - 0.5) < 0.08
    assert sorted(set(known.sum(1).tolist())) == [0, 1, 2, 3]
    assert_close(x[known], model.film[known])
    late = t[~known.any(1)]
    assert torch.equal(late, late[:, :1].expand_as(late))         # one time for all frames of a film
    begun = torch.where(known, 0.0, t).amax(1)[known.any(1)]      # the time of the new frames, where some are known
    for times, dark in ((late[:, 0], 0.05), (begun, 0.40)):       # odds by 3: 5 %; by 30: 74 %
        assert abs((times < 0.06).double().mean() - dark) < 0.08
    assert abs((labels == 10).double().mean() - 0.3) < 0.08 and torch.equal(labels[labels != 10], y[labels != 10])

    class Zero(Perfect):
        def forward(self, x, t, y):
            super().forward(x, t, y)
            return torch.zeros_like(x)

    model = Zero(film)
    loss = video_loss(model, film, y, share=1, most=4)["loss"]
    x, t, _ = model.asked[0]
    new = t != 1
    gap = t[..., None, None, None]
    eps = (x - gap * model.film) / (1 - gap)                      # nonsense where known: left out
    assert_close(loss, (model.film - eps).square()[new].mean(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("wrong, message", [(dict(most=5), "most=5"), (dict(drop=2), "drop=2"), (dict(share=-1), "-1")])
def test_settings_of_the_loss_that_cannot_be_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        video_loss(Perfect(torch.rand(2, 5, 1, 2, 2)), torch.rand(2, 5, 1, 2, 2), torch.zeros(2).long(), **wrong)


def test_long_films_are_made_in_pieces_that_overlap():
    asked = []

    class Counting(torch.nn.Module):
        config = VideoConfig(n_frame=6)

        def sample(self, n, generator, known):
            asked.append(known[:, :, 0, 0, 0].tolist())
            ahead = known[:, -1:] + torch.arange(1, 7 - known.shape[1]).view(1, -1, 1, 1, 1)
            return torch.cat([known, ahead], 1)

    known = torch.arange(3.0).view(1, 3, 1, 1, 1)
    film = roll_out(Counting(), known, 10, keep=2)
    assert film.flatten().tolist() == [*range(10)]
    assert asked == [[[1, 2]], [[5, 6]]]
    with pytest.raises(ValueError, match="keep=6"):
        roll_out(Counting(), known, 10, keep=6)
    with pytest.raises(ValueError, match="known_frames=3"):
        roll_out(Counting(), known, 10, keep=4)


def test_films_of_a_moving_square_are_learned_in_a_few_steps():
    seed(0)
    film = torch.zeros(1, 4, 1, 8, 8)
    for t in range(4):
        film[0, t, 0, 2:5, t:t + 3] = 1
    model = Video(VideoConfig(n_frame=4, sizes=dict(n_channel=8, n_embd=16, shape=(1, 8, 8), patch=1), steps=8))

    class Same:
        def __iter__(self):
            for _ in range(100):
                yield film.expand(8, -1, -1, -1, -1), torch.zeros(8).long()

    fit(model, video_loss_short, Same(), 80, optimizer=muon_video, progress=False)
    drawn = model.sample(4, 0, seeded(1))
    assert (drawn - film).abs().mean() < 0.6 * (drawn - film.flip(1)).abs().mean()


def video_loss_short(model, x, y):
    return video_loss(model, x, y, most=2)


# ------------------------------------------------------------------------------------------------- what is measured

def test_places_are_known_up_to_where_the_ink_of_a_digit_lies(films):
    places, true = centres(films.x), films.place[:, :, 0]
    off = places - true
    assert off.abs().max() < 2 and (off - off[:, :1]).abs().max() < 1e-3          # the same in all frames of a film
    assert velocity_error(places, true) < 1e-3
    square = torch.zeros(1, 1, 1, 16, 32)
    square[..., 4:8, 10:20] = 1
    assert_close(centres(square)[0, 0].item(), 15.0, atol=1e-3, rtol=0)
    square[..., 10:, 20:] = 0.2                                   # haze does not count
    assert_close(centres(square)[0, 0].item(), 15.0, atol=1e-3, rtol=0)
    assert_close(centres(torch.zeros(1, 1, 1, 16, 32))[0, 0].item(), 16.0, atol=1e-3, rtol=0)


def test_the_judge_names_real_films_right_and_the_same_in_all_frames(films):
    names = named(films.x)
    assert (names == films.y).double().mean() > 0.97 and constancy(names) == 1
    assert cut(films.x).shape == (60, 12, 1, 28, 28)
    names[0, 5] = (names[0, 5] + 1) % 10
    assert constancy(names) == pytest.approx(59 / 60)


def test_an_error_of_velocity_is_the_mean_distance_of_steps():
    true = torch.zeros(1, 5)
    places = 5.0 * torch.arange(5)[None]
    assert velocity_error(places, true) == velocity_error(-places, true) == pytest.approx(5)
    places[:, 3:] = places[:, 2:3]
    assert velocity_error(places, true) == pytest.approx(2.5)
    assert velocity_error(places, true, start=3) == pytest.approx(0)
    assert velocity_error(places, true, start=2) == pytest.approx(5 / 3)
    assert velocity_error(places + 7, places) == pytest.approx(0, abs=1e-5)


def test_a_bounce_is_where_the_direction_changes_sign_also_over_a_rest():
    courses = [[12, 14, 16, 14, 12, 10], [13, 15, 15, 13, 11, 11.4], [1, 0, 1, 2, 3, 3], [0, 0, 0, 0, 0, 0]]
    turned = bounces(torch.tensor(courses)).tolist()
    assert turned == [[0, 0, -1, 0, 0], [0, 0, -1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_bounces_are_obeyed_by_the_film_itself_and_by_no_baseline(films):
    true = films.place[:, :, 0]
    assert bounces_obeyed(centres(films.x), true, 3) == 1
    known = films.x[:, :3]
    still, ahead = copy_last(known, 12), straight_on(known, 12)
    assert still.shape == ahead.shape == films.x.shape
    assert bounces_obeyed(centres(still), true, 3) == bounces_obeyed(centres(ahead), true, 3) == 0
    assert velocity_error(centres(still), true, 3) == pytest.approx(
        true.double().diff(dim=1)[:, 2:].abs().mean().item(), abs=1e-3)
    assert math.isnan(bounces_obeyed(centres(still[:, :4]), true[:, :1].expand(-1, 4)))


def test_going_straight_on_is_right_until_a_wall_is_there(films):
    true = films.place[:, :, 0]
    free = ((true[:, :1] + torch.arange(6) * films.speed) == true[:, :6]).all(1)
    ahead = straight_on(films.x[:, :3], 6)
    assert free.sum() > 5
    assert_close(ahead[free], films.x[free, :6], atol=1e-6, rtol=0)
    assert_close(copy_last(films.x[:, :3], 5)[:, 4], films.x[:, 2])


def test_going_straight_on_ends_at_the_wall_that_the_last_known_frame_is_near():
    x = torch.zeros(1, 2, 1, 16, 32)
    x[:, 0, :, 4:8, 14:18] = x[:, 1, :, 4:8, 20:24] = 1                       # six to the right in a frame
    ahead = straight_on(x, 5)[0, 2:, 0, 4]                                    # (3, 32)
    assert ahead.argmax(1).tolist() == [26, 28, 28] and (ahead.sum(1) == 4).all()


def test_the_nearest_course_of_a_lawful_film_is_its_own(films):
    true = films.place[:, :, 0].float()
    assert torch.equal(nearest_course(true), true)
    shaken = true + 0.2 * torch.randn(true.shape, generator=seeded(0))
    assert velocity_error(nearest_course(shaken), true) < 0.1
    assert velocity_error(true[:, torch.randperm(12, generator=seeded(1))], nearest_course(true)) > 1


@pytest.mark.parametrize("wrong", [torch.rand(3, 1, 16, 32), torch.rand(2, 3, 3, 32, 32), "film"])
def test_what_is_no_film_is_named(wrong):
    with pytest.raises(ValueError, match="films of one colour have the shape"):
        centres(wrong)


# ---------------------------------------------------------------------------------------------------- what is shipped

def test_the_shipped_model_makes_the_films_that_its_metadata_claim():
    model, claimed, known = load_checkpoint("video"), metadata("video")["metrics"], draw(24, seeded(100), part="test")
    film = model.sample(24, known=known.x[:, :3], generator=seeded(0))
    error = velocity_error(centres(film), known.place[:, :, 0], 3)
    assert error == pytest.approx(claimed["continued: velocity"], abs=0.4)
    right = (named(film)[:, 3:] == known.y).double().mean().item()
    assert right == pytest.approx(claimed["continued: right"], abs=0.2)
    y = torch.arange(20) % 10
    asked = (named(model.sample(20, y, seeded(0))) == y[:, None]).double().mean().item()
    assert asked == pytest.approx(claimed["from a label: asked"], abs=0.15)


def test_the_shipped_network_that_draws_alone_flickers():
    model, y = load_checkpoint("video_alone"), torch.arange(10)
    film = model.sample(10, y, seeded(0))
    assert (named(film) == y[:, None]).double().mean() == pytest.approx(
        metadata("video_alone")["metrics"]["from a label: asked"], abs=0.15)
    assert centres(film).diff(dim=1).abs().mean() > 3
