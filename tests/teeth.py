"""Bugs that are planted in a copy of course_lib one at a time, and the test that must go red for each: a small one, for
it is run once more for every bug.

A bug replaces one piece of code, which must occur exactly once in its file. `python tests/teeth.py` tries them all;
`python tests/teeth.py frechet` those with this word in their tests. test_teeth.py does it in the suite.

To be quick, one warm process (`--serve`) imports what tests need, but no part of course_lib, and forks for every bug.
Windows cannot fork, and macOS not safely after such imports: there a new Python starts each time.
"""

import contextlib
import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WARM = ("pytest", "anyio.pytest_plugin", "torch", "torch._dynamo", "torch.distributed.tensor", "nbval_repairs",
        "matplotlib.pyplot", "scipy.stats", "sklearn.linear_model", "sklearn.mixture", "sklearn.neighbors",
        "nbgrader.apps")
SECONDS = 120                                      # the longest that the tests of one bug may take


class Bug(NamedTuple):
    module: str                                    # file in course_lib
    code: str
    broken: str
    red: str                                       # test in tests/

    def __str__(self) -> str:
        code, broken = (" ".join(text.split()) for text in (self.code, self.broken))
        return f"{self.module}: {code}  ->  {broken or 'nothing'}"


BUGS = [
    Bug("device.py", '"cpu" if device().type == "cpu" else "gpu"', '"gpu" if device().type == "cpu" else "cpu"',
        "test_device.py::test_the_budget_follows_the_profile"),
    Bug("device.py", '"avx512_bf16", "amx_bf16"', '"avx2", "avx512_bf16", "amx_bf16"',
        "test_device.py::test_a_processor_is_asked_whether_it_multiplies_bfloat16"),
    Bug("device.py", "    np.random.seed(n % 2**32)\n", "",
        "test_device.py::test_one_seed_fixes_every_source_of_randomness"),
    Bug("data/__init__.py", ".div(255)", ".div(128)",
        "test_data.py::test_digits_are_grey_values_between_zero_and_one"),
    Bug("data/__init__.py", "yield tuple(t[i] for t in self.tensors)", "yield tuple(t[i[::1 - 2 * k]] if k == 0 else "
        "t[i.flip(0)] for k, t in enumerate(self.tensors))", "test_data.py::test_rows_of_all_tensors_stay_together"),
    Bug("data/toys.py", "-squared / (2 * self.std**2)", "-squared / (2 * self.std)",
        "test_toys.py::test_a_mixture_has_the_density_of_torch_distributions"),
    Bug("data/toys.py", "one.logsumexp(1) - math.log(len(means))", "one.logsumexp(1)",
        "test_toys.py::test_the_density_integrates_to_one"),
    Bug("data/downloads.py", "hexdigest() == digest.lower()", "hexdigest() != ''",
        "test_downloads.py::test_the_wrong_content_is_refused_and_not_kept"),
    Bug("data/downloads.py", "start = part.stat().st_size if part.exists() else 0", "start = 0",
        "test_downloads.py::test_a_cut_connection_is_continued_where_it_stopped"),
    Bug("claims.py", '">=": operator.ge', '">=": operator.gt', "test_claims.py::test_a_true_claim_prints_one_line"),
    Bug("claims.py", "if not OPERATORS[op](value, bound)", "if not OPERATORS[op](value, value)",
        "test_claims.py::test_a_false_claim_raises_and_prints_nothing"),
    Bug("train.py", "(steps - step) / (decay * steps)", "(steps - step) / steps",
        "test_train.py::test_the_learning_rate_rises_stays_and_falls"),
    Bug("train.py", "lerp_(averages, weights, 1 - decay)", "lerp_(averages, weights, decay)",
        "test_train.py::test_with_ema_the_model_ends_as_the_moving_average"),
    Bug("train.py", "clip_grad_norm_(", "clip_grad_value_(",
        "test_train.py::test_it_takes_the_steps_that_a_hand_written_loop_takes"),
    Bug("train.py", '_set_rng(place["rng"])', "pass", "test_train.py::test_an_interrupted_run_ends_with_the_same_bits"),
    Bug("train.py", "    _set_rng(rng)\n", "    pass\n",
        "test_train.py::test_evaluation_leaves_no_trace_in_the_training"),
    Bug("checkpoint.py", 'if fingerprint(tensors, info.get("config")) != info.get("sha256")', "if False",
        "test_checkpoint.py::test_one_flipped_bit_in_the_weights_is_noticed"),
    Bug("checkpoint.py", "part.write_bytes(", "path.write_bytes(b''); part.write_bytes(",
        "test_checkpoint.py::test_a_failed_save_leaves_the_old_file_whole"),
    Bug("plots.py", "i // n_col * (h + pad), i % n_col * (w + pad)", "i % n_col * (h + pad), i // n_col * (w + pad)",
        "test_plots.py::test_tile_places_every_image"),
    Bug("plots.py", ".reshape(n, n).T", ".reshape(n, n)",
        "test_plots.py::test_field_puts_the_first_coordinate_to_the_right"),
    Bug("plots.py", "x * 32767", "x * 255", "test_plots.py::test_what_is_in_the_page_is_the_sound"),
    Bug("plots.py", "round(255 * (1 - i / 31))", "round(255 * i / 31)",
        "test_plots.py::test_the_frames_in_the_page_are_those_of_the_film"),
    Bug("plots.py", "Fs=rate, ", "", "test_plots.py::test_a_spectrogram_has_its_axes_in_hertz_and_seconds"),
    Bug("plots.py", "patchB=patches[end]", "patchB=patches[start]",
        "test_plots.py::test_a_diagram_has_its_boxes_and_arrows_from_edge_to_edge"),
    Bug("mlp.py", "p / p.sum(dim=-1, keepdim=True)", "p / p.sum(dim=0, keepdim=True)",
        "test_mlp.py::test_softmax_is_pytorchs_along_the_last_axis_and_ignores_a_shift"),
    Bug("mlp.py", "log_sum - logits.gather(", "log_sum + logits.gather(",
        "test_mlp.py::test_cross_entropy_and_its_gradient_are_pytorchs"),
    Bug("mlp.py", "layer(x).relu()", "layer(x)", "test_mlp.py::test_the_mlp_is_what_the_formula_says"),
    Bug("convnet.py", "nn.BatchNorm2d(c_out), nn.ReLU()", "nn.ReLU(), nn.BatchNorm2d(c_out)",
        "test_convnet.py::test_a_block_is_convolution_then_normalisation_then_relu"),
    Bug("convnet.py", "nn.Dropout(config.dropout)", "nn.Identity()",
        "test_convnet.py::test_drop_out_acts_in_training_only"),
    Bug("augment.py", "math.radians(rotate)", "rotate",
        "test_augment.py::test_rotation_turns_about_the_centre_and_keeps_size"),
    Bug("augment.py", "shift / half[1] * u[5]", "shift / half[0] * u[5]",
        "test_augment.py::test_shift_is_in_pixels_also_where_the_picture_is_not_square"),
    Bug("augment.py", "field.permute(0, 2, 3, 1) / half", "field.permute(0, 2, 3, 1)",
        "test_augment.py::test_elastic_displacement_is_in_pixels_and_smooth"),
    Bug("classify.py", "F.cross_entropy(scores, y)", "F.cross_entropy(scores, y, reduction='sum')",
        "test_classify.py::test_loss_and_accuracy_by_hand"),
    Bug("device.py", "        if modes:\n            model.eval()\n", "",
        "test_classify.py::test_prediction_is_in_evaluation_mode_without_gradient_and_leaves_no_trace"),
    Bug("calibration.py", "torch.bucketize(top, edges[1:-1])", "torch.bucketize(top, edges[1:-1], right=True)",
        "test_calibration.py::test_an_edge_belongs_to_the_bin_below"),
    Bug("calibration.py", "(gap * bins.count).sum().item() / len(y)", "gap.mean().item()",
        "test_calibration.py::test_against_a_numpy_loop"),
    Bug("gaussians.py", "- log_volume  ", "- 2 * log_volume  ",
        "test_gaussians.py::test_log_density_is_scipys"),
    Bug("gaussians.py", "(joint - evidence).exp()", "joint.softmax(0)",
        "test_gaussians.py::test_em_equals_sklearns_from_the_same_start"),
    Bug("gaussians.py", "self.scale[k] @ eps", "self.scale[k].mT @ eps",
        "test_gaussians.py::test_samples_of_a_class_have_its_mean_and_covariance"),
    Bug("autoencoder.py", "torch.atan2(sines, cosines)", "torch.atan2(sines.flip(0), cosines)",
        "test_autoencoder.py::test_principal_angles_are_scipys"),
    Bug("autoencoder.py", ".square().flatten(1).sum(1).mean()", ".square().flatten(1).mean(1).mean()",
        "test_autoencoder.py::test_the_loss_is_a_sum_over_pixels_and_a_mean_over_images"),
    Bug("autoencoder.py", "self.mean + eps @ self.scale.T", "self.mean + eps @ self.scale",
        "test_autoencoder.py::test_codes_of_a_fitted_gaussian_have_the_mean_and_covariance_of_what_was_fitted"),
    Bug("gaussians.py", ".flatten(1) - self.mean) @ self.axes.T", ".flatten(1)) @ self.axes.T",
        "test_autoencoder.py::test_pca_is_scikit_learns"),
    Bug("baselines.py", "(self.y == label)", "(self.y != label)",
        "test_gaussians.py::test_training_digits_are_different_real_images_with_the_label_asked_for"),
    Bug("metrics.py", "- 2 * cross", "- cross",
        "test_metrics.py::test_frechet_distance_is_the_formula_with_scipys_matrix_root"),
    Bug("metrics.py", "(k_xx.sum() - k_xx.trace()) / (n * (n - 1))", "k_xx.mean()",
        "test_metrics.py::test_kernel_distance_is_the_double_loop"),
    Bug("metrics.py", "(between <= reach_fake[:, None]).any(0)", "(between <= reach_fake[:, None]).any(1)",
        "test_metrics.py::test_precision_and_recall_agree_with_a_brute_force_neighbour_search"),
    Bug("metrics.py", "(above + at_least)", "(above + above)", "test_metrics.py::test_equal_distances_count_one_half"),
    Bug("metrics.py", "float(np.std(values, ddof=1))", "float(np.var(values, ddof=1))",
        "test_metrics.py::test_bootstrap_error_of_a_mean_is_sigma_over_root_n"),
    Bug("leaderboard.py", 'key=lambda r: r["metrics"]["frechet"]', 'key=lambda r: -r["metrics"]["frechet"]',
        "test_leaderboard.py::test_rows_are_the_generators_best_first"),
    Bug("vae.py", "(0.5 * logvar).exp() * eps", "logvar.exp() * eps",
        "test_vae.py::test_codes_have_the_mean_and_the_standard_deviation_asked_for"),
    Bug("vae.py", "mu**2 + logvar.expm1() - logvar", "mu**2 + logvar.expm1() + logvar",
        "test_vae.py::test_kl_is_that_of_torch_distributions"),
    Bug("vae.py", 'reduction="none").reshape(len(x), -1).sum(1)', 'reduction="none").reshape(len(x), -1).mean(1)',
        "test_vae.py::test_elbo_is_below_the_likelihood_by_the_kl_to_the_true_posterior"),
    Bug("vae.py", "kl.clamp(min=free_bits).sum()", "kl.sum().clamp(min=free_bits)",
        "test_vae.py::test_free_bits_are_a_floor_for_each_number_of_the_code"),
    Bug("vae.py", "self.scale[k] @ eps", "self.scale[k].mT @ eps",
        "test_vae.py::test_codes_drawn_from_the_fitted_prior_have_its_mean_and_covariance"),
    Bug("data/toys.py", "radius * angle.cos(), radius * angle.sin()", "radius * angle.sin(), radius * angle.cos()",
        "test_toys.py::test_the_arms_are_separable_but_not_by_a_line"),
    Bug("mlp.py", "log_sum = logits.exp().sum(dim=1).log()", "log_sum = logits.exp().mean(dim=1).log()",
        "test_mlp.py::test_cross_entropy_and_its_gradient_are_pytorchs"),
    Bug("diffusion.py", "return a.sqrt() * x0 + (1 - a).sqrt() * eps", "return a.sqrt() * x0 + (1 - a) * eps",
        "test_diffusion.py::test_the_closed_form_is_the_product_of_single_steps"),
    Bug("diffusion.py", "(1 - (a / a_next if a_next else 1.0))", "(1 - a)",
        "test_diffusion.py::test_ddpm_is_ddim_with_eta_1"),
    Bug("diffusion.py", "without + scale * (with_label - without)", "with_label + scale * (with_label - without)",
        "test_diffusion.py::test_scale_1_is_conditional_and_0_unconditional"),
    Bug("diffusion.py", "bad + scale * (good - bad)", "bad + scale * good - bad",
        "test_diffusion.py::test_autoguidance_goes_from_the_weak_model_through_the_other_and_beyond"),
    Bug("diffusion.py", '"v": a.sqrt() * eps - (1 - a).sqrt() * x0', '"v": a.sqrt() * x0 - (1 - a).sqrt() * eps',
        "test_diffusion.py::test_v_is_the_derivative_along_the_quarter_circle"),
    Bug("flow.py", "(1 - t) * eps + t * x", "(1 - t) * x + t * eps",
        "test_flow.py::test_the_road_leads_from_noise_to_data_at_constant_velocity"),
    Bug("flow.py", "(i + 0.5) / steps", "i / steps", "test_flow.py::test_the_order_of_each_method_by_halving_the_step"),
    Bug("unet.py", "return F.silu(h + self.label(y))", "return F.silu(h + self.label(y[:1]))",
        "test_unet.py::test_each_image_gets_its_own_time_and_label"),
    Bug("dit.py", "F.pixel_shuffle(tokens.transpose(1, 2)", "F.pixel_shuffle(tokens.flip(1).transpose(1, 2)",
        "test_unet.py::test_patches_are_rows_of_the_image_and_come_back"),
    Bug("transformer.py", ".view(B, T, 3, n_head, -1).permute(2, 0, 3, 1, 4)",
        ".view(B, T, n_head, 3, -1).permute(3, 0, 2, 1, 4)",
        "test_unet.py::test_a_block_without_modulation_is_pytorchs_layer"),
    Bug("unet.py", "(1 + scale) + shift            # (B, n_embd)", "(1 + scale[:1]) + shift            # (B, n_embd)",
        "test_unet.py::test_each_image_gets_its_own_time_and_label"),
    Bug("pipeline.py", "drop_labels(y, network.config.n_class)", "drop_labels(y, 0)",
        "test_pipeline.py::test_the_loss_is_that_of_the_path_with_some_labels_left_out"),
    Bug("pipeline.py", "if guidance != 1:", "if guidance > 2:",
        "test_pipeline.py::test_samples_are_those_of_the_sampler_that_the_configuration_names"),
    Bug("pipeline.py", "partial(self.network, **bound)", "partial(self.network, **{k: v.flip(0) for k, v in "
        "bound.items()})", "test_pipeline.py::test_samples_are_those_of_the_sampler_that_the_configuration_names"),
    Bug("pipeline.py", "autoguided(model, self.weak, guidance)", "autoguided(self.weak, model, guidance)",
        "test_pipeline.py::test_a_pipeline_with_a_weak_network_is_guided_away_from_it"),
    Bug("classroom/sandbox.py", 'if not shutil.which("bwrap"):', 'if shutil.which("bwrap"):',
        "test_grading.py::test_without_bubblewrap_it_refuses_unless_told_otherwise"),
    Bug("classroom/kernel.py", "                os._exit(0)", "                return data",
        "test_grading.py::test_a_kernel_ends_when_its_grader_lets_go"),
    Bug("classroom/cli.py", "if now == found.stdout:", "if not now:",
        "test_cli.py::test_reset_brings_the_original_back_and_keeps_what_was_there"),
    Bug("classroom/progress.py", '"YOUR ANSWER HERE" not in source and "YOUR CODE HERE" not in source', "True",
        "test_cli.py::test_progress_counts_checks_that_passed_and_answers_that_were_written"),
    Bug("classroom/grading.py", "(*determine_grade(cell), error)", "(*determine_grade(cell)[::-1], error)",
        "test_grading.py::test_a_number_and_noise_in_a_test_cell_change_no_score"),
    Bug("checks/__init__.py", "    different |= not all(", "    different = not all(",
        "test_checks.py::test_a_slip_must_explain_every_case"),
    Bug("checks/__init__.py", "return failed in slip.only or", "return bool(failed) or",
        "test_checks.py::test_a_slip_must_explain_every_case"),
    Bug("checks/__init__.py", "changed.add(name)", "pass",
        "test_checks.py::test_an_argument_changed_in_place_is_named"),
    Bug("checks/__init__.py", "_shown if found.is_again(_last) else 0", "0",
        "test_checks.py::test_the_hint_goes_one_step_further_each_time_and_belongs_to_the_last_mistake"),
    Bug("checks/__init__.py", "HELP[\"in place\"]", "", "test_checks.py::test_an_argument_changed_in_place_is_named"),
    Bug("checks/attention.py", "((1, 2, 2), (3, 4, 3), (2, 6, 5), (1, 5, 1))", "((1, 2, 1), (3, 4, 1), (2, 6, 1))",
        "test_checks.py::test_the_reference_with_one_operation_changed_is_rejected[-causal_attention]"),
    Bug("checks/__init__.py", "def _render_traceback_(self)", "def _render_trace_(self)",
        "test_checks.py::test_a_notebook_shows_the_sentence_alone"),
    Bug("checks/convnet.py", "_convolve(x, w.flip(1, 2), s)", "_convolve(x, w, s)",
        "test_checks.py::test_each_slip_is_told_from_all_others[convolve]"),
    Bug("checks/start_here.py", "table.sum(-1).sqrt()", "table.sum(-1).exp()",
        "test_checks.py::test_a_notebook_shows_the_sentence_alone"),
    Bug("checks/start_here.py", 'gradient=("a",), ', "",
        "test_checks.py::test_a_lost_graph_is_named_where_one_is_needed"),
    Bug("checks/softmax_and_mlp.py", "slope=lambda h, d: d * (h > 0), hidden", "slope=lambda h, d: d, hidden",
        "test_checks.py::test_each_slip_is_told_from_all_others[mlp_gradients]"),
    Bug("checks/discriminative_vs_generative.py", "root=_chol) -> Tensor",
        "root=lambda cov: _chol(cov).T) -> Tensor",
        "test_checks.py::test_each_slip_is_told_from_all_others[sample_normal]"),
    Bug("checks/__init__.py", "_drawn() and not any(noise)", "_drawn()",
        "test_checks.py::test_noise_of_ones_own_is_named_unless_it_is_asked_for"),
    Bug("checks/__init__.py", "if g.dim() in (2, 3, 4)", "if g.dim() in (3, 4)",
        "test_checks.py::test_the_general_sentence_tells_what_is_right_about_a_wrong_result"),
    Bug("checks/__init__.py", "key.startswith(GRADIENT) and not g[key].any()",
        "key.startswith(GRADIENT) and g[key].any()",
        "test_checks.py::test_a_gradient_that_does_not_reach_one_argument_is_named"),
    Bug("checks/__init__.py", "if importing(frame):", "if False:",
        "test_checks.py::test_an_import_is_not_cut_off[False]"),
    Bug("checks/__init__.py", "zip(order, self.returns)", "zip(self.returns, self.returns)",
        "test_checks.py::test_values_have_names_and_an_order"),
    Bug("checks/autoencoder.py", "pick=lambda angles: angles[-1]", "pick=lambda angles: angles[0]",
        "test_checks.py::test_each_slip_is_told_from_all_others[largest_angle]"),
    Bug("checks/autoencoder.py", "_qr(B)).min() <= 1", "_qr(B)).min() > 1",
        "test_checks.py::test_the_reference_with_one_operation_changed_is_rejected[-largest_angle]"),
    Bug("checks/autoencoder.py", "rebuilt, x: rebuilt.view_as(x), error", "rebuilt, x: _all_pairs(rebuilt, x), error",
        "test_checks.py::test_each_slip_is_told_from_all_others[autoencoder_loss]"),
    Bug("checks/attention.py", "causal mask\", dict(may=_all))", "causal mask\", dict(may=_past))",
        "test_checks.py::test_each_slip_is_told_from_all_others[causal_attention]"),
    Bug("checks/attention.py", "k[..., 0], 300.0)", "k[..., 0], 3.0)",
        "test_checks.py::test_a_wrong_answer_is_told_its_own_mistake_and_no_other[attention: you mask too late]"),
    Bug("checks/attention.py", "bias <= -1e3", "bias == -INF",
        "test_checks.py::test_a_right_answer_is_accepted_however_it_is_written[distance_bias: right1]"),
    Bug("checks/vae.py", "lambda v: (2 * v).exp()", "lambda v: (v / 2).exp()",
        "test_checks.py::test_each_slip_is_told_from_all_others[reparameterize]"),
    Bug("checks/vae.py", "    return t.sum() / len(t) ", "    return t.mean() ",
        "test_checks.py::test_each_slip_is_told_from_all_others[negative_elbo]"),
    Bug("checks/gpt.py", "seen=lambda old, new: new,", "seen=lambda old, new: old,",
        "test_checks.py::test_each_slip_is_told_from_all_others[cached_step]"),
    Bug("checks/gpt.py", "rows=slice(None, -1), targets=slice(1, None), logits",
        "rows=slice(None), targets=slice(None), logits",
        "test_checks.py::test_each_slip_is_told_from_all_others[next_byte_loss]"),
    Bug("checks/flow_matching.py", "later=lambda t, h: t + h, move", "later=lambda t, h: t, move",
        "test_checks.py::test_each_slip_is_told_from_all_others[heun]"),
    Bug("checks/flow_matching.py", "x_t, t: x - eps,\n", "x_t, t: x - x_t,\n",
        "test_checks.py::test_each_slip_is_told_from_all_others[velocity_loss]"),
    Bug("checks/vae.py", "levels[:2] + levels[3:4]", "levels[:3] + levels[3:4]",
        "test_checks.py::test_each_slip_is_told_from_all_others[free_bits]"),
    Bug("checks/gan.py", "enough(found(near & mine,", "enough(found(near,",
        "test_checks.py::test_each_slip_is_told_from_all_others[ring_score]"),
    Bug("checks/gan.py", "(discriminator(x)), x, create_graph=True)", "(discriminator(x)), x)",
        "test_checks.py::test_each_slip_is_told_from_all_others[squared_slope]"),
    Bug("checks/guidance.py", "rule=lambda u, c, s: u + s * (c - u), empty",
        "rule=lambda u, c, s: c + s * (c - u), empty",
        "test_checks.py::test_each_slip_is_told_from_all_others[guided_prediction]"),
    Bug("checks/guidance.py", "1 + torch.randperm(7, generator=g)", "0 * torch.randperm(7, generator=g)",
        "test_checks.py::test_each_slip_is_told_from_all_others[label_loss]"),
    Bug("checks/guidance.py", "    return a[time] if time >= 0 else torch.ones(()) ", "    return a[time] ",
        "test_checks.py::test_each_slip_is_told_from_all_others[inpaint_step]"),
    Bug("checks/gan.py", "lr=0.3 * (who == learns)", "lr=0.3",
        "test_checks.py::test_a_right_answer_is_accepted_however_it_is_written[train_step: right1]"),
    Bug("checks/ddpm.py", "torch.cat([torch.ones(1), alphas_cumprod])[t + 1]", "alphas_cumprod[t]",
        "test_checks.py::test_a_right_answer_is_accepted_however_it_is_written[noisier: right0]"),
    Bug("checks/ddpm.py", "    return x0.clamp(-1, 1)", "    return x0",
        "test_checks.py::test_each_slip_is_told_from_all_others[ddpm_step]"),
    Bug("checks/ddpm.py", "dict(time=_first), dict", "dict(time=_first, told=_first), dict",
        "test_checks.py::test_each_slip_is_told_from_all_others[noise_loss]"),
    Bug("checks/ddpm.py", '"agree": (one == other)', '"agree": (one == now)',
        "test_checks.py::test_a_right_answer_is_accepted_however_it_is_written[share_agreed: right0]"),
    Bug("transformer.py", "scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])",
        "scores = q @ k.transpose(-2, -1) / q.shape[-1]",
        "test_transformer.py::test_attention_is_pytorchs_in_values_and_gradients"),
    Bug("transformer.py", "dtype=torch.bool, device=device).tril()", "dtype=torch.bool, device=device).tril(-1)",
        "test_transformer.py::test_the_causal_mask_includes_the_diagonal"),
    Bug("transformer.py", "self.proj(y.transpose(1, 2).flatten(2))", "self.proj(y.reshape(len(y), y.shape[2], -1))",
        "test_transformer.py::test_many_heads_are_pytorchs_with_the_same_weights"),
    Bug("gpt.py", "self.mask[None, :, :T, :T]", "self.mask[:, :T, :T]",
        "test_gpt.py::test_its_attention_is_pytorchs_fused_one"),
    Bug("transformer.py", "x = x + self.dropout(self.attn(self.norm1(x), mask))",
        "x = self.norm1(x); x = x + self.dropout(self.attn(x, mask))",
        "test_transformer.py::test_a_block_is_pytorchs_encoder_layer_with_the_same_weights"),
    Bug("transformer.py", "mask = mask.masked_fill(~causal_mask(T), -math.inf)", "pass",
        "test_transformer.py::test_the_future_cannot_change_the_past"),
    Bug("transformer.py", "2 ** (-8 / n_head * torch.arange(1, n_head + 1",
        "2 ** (-8 / n_head * torch.arange(0, n_head", "test_transformer.py::test_alibi_by_hand"),
    Bug("gan.py", "F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()",
        "F.softplus(real_logits).mean() + F.softplus(-fake_logits).mean()",
        "test_gan.py::test_real_and_fake_are_not_exchanged"),
    Bug("gan.py", "slope.flatten(1).square().sum(1).mean()", "slope.square().mean()",
        "test_gan.py::test_r1_of_a_linear_discriminator_is_the_squared_norm_of_its_weights"),
    Bug("gan.py", "get_ema_multi_avg_fn(ema))", "get_ema_multi_avg_fn(1 - ema), use_buffers=True)",
        "test_gan.py::test_the_generator_ends_as_the_average_with_copied_batch_norm_statistics"),
    Bug("gan.py", "step % penalty_every == 0", "step % penalty_every == 1",
        "test_gan.py::test_it_plays_the_game_that_a_hand_written_loop_plays"),
    Bug("gan.py", "share = distributions(probs).mean(0)", "share = distributions(probs)[0]",
        "test_gan.py::test_class_entropy_by_hand"),
    Bug("gan.py", "near.sum(0) >= at_least", "near.sum(1) >= at_least", "test_gan.py::test_modes_hit_by_hand"),
    Bug("dcgan.py", "self.embedding.weight * h).sum(1)", "self.embedding.weight).sum(1)",
        "test_gan.py::test_a_label_adds_its_projection_of_the_features"),
    Bug("dcgan.py", "with evaluating(self):", "if True:",
        "test_gan.py::test_images_lie_between_zero_and_one_and_follow_the_seed"),
    Bug("gpt.py", "mask.masked_fill(~may_look,", "mask.masked_fill(~may_look.roll(1, dims=1).tril(1),",
        "test_gpt.py::test_the_future_cannot_change_the_past"),
    Bug("gpt.py", "idx[:, 1:].flatten()", "idx[:, :-1].flatten()",
        "test_gpt.py::test_the_loss_is_that_of_the_next_token"),
    Bug("transformer.py", "F.gelu(self.fc(x), approximate=self.gelu)", "self.fc(x).relu()",
        "test_gpt.py::test_it_is_pytorchs_own_encoder_layers_with_a_causal_mask"),
    Bug("decoding.py", "((key < begin) & (key < query))", "(key < begin - 99)",
        "test_gpt.py::test_cached_equals_uncached_token_for_token"),
    Bug("decoding.py", "- _column(first, x)                     # (B, T)", "- 0 * _column(first, x)",
        "test_gpt.py::test_cached_equals_uncached_token_for_token"),
    Bug("decoding.py", "logits.topk(top_k)  ", "logits.topk(top_k + 1)  ",
        "test_gpt.py::test_tokens_are_drawn_with_their_probabilities"),
    Bug("gpt.py", "2 * 12 * c.n_embd**2 + 4 * T", "2 * 12 * c.n_embd**2 + 2 * T",
        "test_gpt.py::test_parameters_and_flops_are_counted_right"),
    Bug("data/text.py", "            if plain in seen:\n                continue\n", "",
        "test_text.py::test_the_same_paragraph_is_on_one_side_and_there_once"),
    Bug("data/text.py", "torch.randint(len(self.text) - self.block_size,", "torch.randint(len(self.text) - "
        "self.block_size - 1,", "test_text.py::test_windows_are_pieces_of_the_text_and_reach_both_ends"),
    Bug("ngrams.py", "kinds * shorter) / (total + kinds)", "kinds * shorter) / (total + 1)",
        "test_ngrams.py::test_a_worked_example"),
    Bug("ngrams.py", "grams >> 8 & (1 << 56) - 1", "grams >> 8",
        "test_ngrams.py::test_a_long_context_may_begin_with_a_high_byte"),
    Bug("muon.py", "X = a * X + (b * A + c * A @ A) @ X", "X = a * X + (b * A - c * A @ A) @ X",
        "test_gpt.py::test_muon_makes_singular_values_nearly_one"),
    Bug("muon.py", "update = p.grad.lerp(mean, group[\"momentum\"])", "update = mean",
        "test_gpt.py::test_muon_takes_the_steps_of_torchs_muon"),
    Bug("muon.py", "p.mul_(1 - group[\"lr\"] * group[\"weight_decay\"])", "p.mul_(1 - group[\"weight_decay\"])",
        "test_gpt.py::test_muon_takes_the_steps_of_torchs_muon"),
    Bug("muon.py", "max(1, m / n) ** 0.5", "max(1, n / m) ** 0.5",
        "test_gpt.py::test_muon_takes_the_steps_of_torchs_muon"),
    Bug("muon.py", "if first <= i < first + n", "if first < i < first + n",
        "test_train.py::test_an_interrupted_run_with_two_optimisers_ends_with_the_same_bits"),
    Bug("metrics.py", "nats += loss[known - start - 1:]", "nats += loss[known - start:]",
        "test_text.py::test_every_byte_but_the_first_is_counted_once"),
    Bug("metrics.py", "(8 + nats / math.log(2))", "(8 + nats)",
        "test_text.py::test_every_byte_but_the_first_is_counted_once"),
    Bug("train.py", "learning_rate(done, steps, peak, warmup, decay)", "learning_rate(done, steps, peaks[0], warmup, "
        "decay)", "test_train.py::test_a_given_optimiser_takes_the_steps_with_the_rates_of_its_groups_scaled"),
    Bug("transformer.py", "*self.kv(context).chunk(2, dim=-1))", "*self.kv(context).chunk(2, dim=-1)[::-1])",
        "test_transformer.py::test_cross_attention_is_pytorchs_with_keys_of_another_width"),
    Bug("unet.py", "h1 = self.down1(self.enter(F.pixel_unshuffle(x, p)), emb, context)",
        "h1 = self.down1(self.enter(F.pixel_unshuffle(x, p)), emb, context if context is None else context.flip(0))",
        "test_unet.py::test_an_image_sees_its_own_context_in_any_order_and_one_serves_all"),
    Bug("diffusion.py", "torch.cat([for_each(y, x), for_each(null, x)])",
        "torch.cat([for_each(null, x), for_each(y, x)])",
        "test_unet.py::test_guidance_by_a_context_leads_away_from_a_negative_one"),
    Bug("data/avatars.py", "masked_fill(~self.visible, UNSAID)", "clone()",
        "test_avatars.py::test_shown_says_minus_one_for_what_is_hidden"),
    Bug("data/avatars.py", "and u >= leave_out:", "and u >= leave_out / 2:",
        "test_avatars.py::test_each_part_is_left_out_with_its_probability"),
    Bug("data/avatars.py", "zip(has + wears, draw[8:])", "zip(has + wears, range(9))",
        "test_avatars.py::test_there_are_many_phrasings_and_every_order"),
    Bug("data/avatars.py", "            waiting = []\n", "",
        "test_avatars.py::test_colours_belong_to_the_noun_that_follows"),
    Bug("data/chorales.py", "(down, up), idx = self.rooms[k], self.pieces[k]",
        "(down, up), idx = (0, 0), self.pieces[k]",
        "test_chorales.py::test_every_epoch_is_in_other_keys"),
    Bug("data/chorales.py", "torch.where(piece.attack, BEGINS, HOLDS)", "torch.where(piece.attack, HOLDS, BEGINS)",
        "test_chorales.py::test_the_tokens_of_two_chords_by_hand"),
    Bug("data/chorales.py", "torch.where(piece.pitch > 0, piece.pitch + shift, 0)", "piece.pitch + shift",
        "test_chorales.py::test_transposing_adds_to_the_tokens_of_notes_and_to_no_other"),
    Bug("data/chorales.py", "before & ~kept.roll(1)[:, None]", "before & kept.roll(1)[:, None]",
        "test_chorales.py::test_a_grid_of_eighths_hears_every_second_sixteenth"),
    Bug("data/chorales.py", "start = STEP * torch.randint(", "start = torch.randint(",
        "test_chorales.py::test_windows_are_pieces_of_the_text_and_begin_at_a_step"),
    Bug("data/build_chorales.py", "[title] + [tuple(steps", "[tuple(steps",
        "test_chorales.py::test_a_title_or_twelve_steps_make_a_family"),
    Bug("data/build_chorales.py", "// bar * bar] = False", "] = False",
        "test_chorales.py::test_bars_of_silence_are_cut_out"),
    Bug("data/build_chorales.py", 'new or note.tie is None or note.tie.type == "start"', "True",
        "test_chorales.py::test_a_score_is_put_on_a_grid_of_sixteenths"),
    Bug("chorales.py", "move[:, upper].sign() * move[:, lower].sign() > 0",
        "move[:, upper].sign() * move[:, lower].sign() != 0",
        "test_chorales.py::test_parallels_by_hand"),
    Bug("chorales.py", "((lower > upper) & (upper > 0)).any(1)", "(lower > upper).any(1)",
        "test_chorales.py::test_counts_are_those_of_a_plain_loop"),
    Bug("chorales.py", "third & ~both &", "third &",
        "test_chorales.py::test_triads_in_root_position"),
    Bug("chorales.py", "beat & dissonant(piece)", "dissonant(piece)",
        "test_chorales.py::test_bach_and_chance_are_far_apart"),
    Bug("chorales.py", "rows = (torch.arange(len(piece.pitch))[:, None] + first)",
        "rows = (torch.arange(len(piece.pitch))[:, None] + 0 * first)",
        "test_chorales.py::test_shuffling_moves_voices_by_whole_bars_and_changes_no_melody"),
    Bug("chorales.py", "below = torch.where(piece.pitch > 0, piece.pitch.amax(1, keepdim=True) - piece.pitch, 99)",
        "below = piece.pitch",
        "test_chorales.py::test_the_longest_copied_run_is_that_of_a_plain_search"),
    Bug("chorales.py", "attack[t] or t == 0 or pitch[t] != pitch[t - 1]", "attack[t] or t == 0",
        "test_chorales.py::test_notes_put_on_a_grid_again_are_the_piece"),
    Bug("chorales.py", "if k * f < rate / 2)", "if k * f < 2 * rate)",
        "test_chorales.py::test_what_the_rate_cannot_hold_is_left_out"),
    Bug("chorales.py", "f = 440 * 2 ** ((pitch - 69) / 12)", "f = 440 * 2 ** ((pitch - 60) / 12)",
        "test_chorales.py::test_a_note_sounds_at_its_frequency_and_whole_multiples_of_it"),
    Bug("chorales.py", "prompts = [torch.cat([START, encode(", "prompts = [torch.cat([encode(",
        "test_chorales.py::test_a_continuation_begins_with_what_was_given"),
    Bug("data/build_avatars.py", 'changed[:, NAMES.index("beard")] = 0', "pass",
        "test_avatars.py::test_what_changes_no_pixel_is_not_seen"),
    Bug("data/build_avatars.py", 'count[count[:, NAMES.index("hair colour")] == 0, NAMES.index("hair length")] = 0', "",
        "test_avatars.py::test_what_changes_no_pixel_is_not_seen"),
    Bug("reader.py", "| (wanted == UNSAID)", "& (wanted != UNSAID)",
        "test_reader.py::test_only_what_was_asked_for_is_counted"),
    Bug("reader.py", "right[asked.any(1)].all(1)", "right.all(1)",
        "test_reader.py::test_only_what_was_asked_for_is_counted"),
    Bug("reader.py", ".sum() / len(x)}", ".mean() / len(x)}",
        "test_reader.py::test_the_loss_is_the_log_probability_of_what_can_be_seen"),
    Bug("checkpoints/part6.py", "torch.where(shown[:, hat] == worn + 1, new, shown[:, hat])", "new",
        "test_reader.py::test_dyed_faces_are_labelled_with_their_new_colours"),
    Bug("data/list_programs.py", "if at < len(words):\n        raise", "if at > len(words):\n        raise",
        "test_list_programs.py::test_what_is_no_program_is_one_clear_line"),
    Bug("data/list_programs.py", "    whole(0, LONGEST, words=len(words))\n", "",
        "test_list_programs.py::test_what_is_no_program_is_one_clear_line"),
    Bug("data/list_programs.py", "setdefault(repr(outputs), [])", "setdefault(repr(steps), [])",
        "test_list_programs.py::test_what_is_held_out_does_nothing_that_was_trained"),
    Bug("data/list_programs.py", "phrases[::-1], ", "phrases, ",
        "test_list_programs.py::test_a_description_names_its_steps_in_either_order"),
    Bug("data/list_programs.py", "return all(run(program, x)", "return any(run(program, x)",
        "test_list_programs.py::test_examples_worked_by_hand"),
    Bug("data/counts.py", "people[3] if right is None", "people[k] if right is None",
        "test_counts.py::test_the_right_answer_follows_from_the_story"),
    Bug("data/counts.py", 'words.count("Thanks") == 1', 'words.count("Thanks") >= 1',
        "test_counts.py::test_what_an_answer_is_worth"),
    Bug("checks/preferences.py", "kept=slice(1, None)", "kept=slice(None, -1)",
        "test_checks.py::test_each_slip_is_told_from_all_others[answer_logp]"),
    Bug("preferences.py", "(written == end).cumsum(1), (1, 0))[:, :-1]", "(written == end).cumsum(1), (0, 0))",
        "test_preferences.py::test_answers_end_where_they_say_so"),
    Bug("preferences.py", "logp * mask[:, 1:]", "logp * mask[:, :-1]",
        "test_preferences.py::test_the_probability_of_an_answer_is_the_product_over_its_tokens"),
    Bug("preferences.py", "last, token]", "last - 1, token]",
        "test_preferences.py::test_a_reward_is_read_at_the_last_token_of_the_answer_and_padding_changes_nothing"),
    Bug("preferences.py", "math.comb(i, n - 1)", "math.comb(i + 1, n - 1)",
        "test_preferences.py::test_best_of_n_is_the_mean_over_all_ways_to_choose[3]"),
    Bug("preferences.py", "math.log(n) - (n - 1) / n", "math.log(n) - n / (n + 1)",
        "test_preferences.py::test_best_of_n_moves_no_further_than_its_bound[8]"),
    Bug("preferences.py", "(~right).sum(1)", "right.sum(1)",
        "test_preferences.py::test_pass_at_k_is_the_share_of_choices_with_a_right_one[2]"),
    Bug("preferences.py", "logp + rewards / beta", "logp + rewards * beta",
        "test_preferences.py::test_the_optimum_is_the_reference_times_exp_of_reward_over_beta"),
    Bug("preferences.py", "beta * (worse - worse_ref)", "beta * (worse_ref - worse)",
        "test_preferences.py::test_dpo_is_the_sigmoid_loss_of_trl"),
    Bug("preferences.py", "torch.minimum(ratio", "torch.maximum(ratio",
        "test_preferences.py::test_a_gradient_stops_where_the_ratio_has_gone_far_enough"),
    Bug("preferences.py", "rewards.mean(1, keepdim=True)", "rewards.mean()",
        "test_preferences.py::test_a_group_that_is_all_right_or_all_wrong_teaches_nothing"),
    Bug("preferences.py", "rewards - self.beta * moved", "rewards + self.beta * moved",
        "test_preferences.py::test_rollouts_charge_for_leaving_the_reference"),
    Bug("text_encoder.py", "F.pad(x.transpose(1, 2), (0, 1))", "F.pad(x.transpose(1, 2), (1, 0))",
        "test_text_encoder.py::test_a_word_is_mixed_with_the_one_on_its_right"),
    Bug("text_encoder.py", "x.mean(1, keepdim=True)", "x[:, -1:]",
        "test_text_encoder.py::test_a_bag_of_words_cannot_tell_whose_colour_is_whose"),
    Bug("data/house.py", "return here is not None and world.lies.get(thing) == here", "return here is not None",
        "test_house.py::test_what_contradicts_the_world_is_not_possible"),
    Bug("data/house.py", "world.lies[thing] = world.at[person]", "world.lies[thing] = ROOMS[0]",
        "test_house.py::test_things_go_with_who_holds_them_and_stay_where_they_are_dropped"),
    Bug("data/house.py", "world = world.copy()\n    _change", "_change",
        "test_house.py::test_things_go_with_who_holds_them_and_stay_where_they_are_dropped"),
    Bug("data/house.py", "so yes.\") if room == there", "so yes.\") if room != there",
        "test_house.py::test_an_answer_is_what_the_world_says"),
    Bug("data/house.py", "draw.choice(_NOUNS[tested])", "draw.choice(_NOUNS[1])",
        "test_house.py::test_what_is_tested_was_never_learnt_from"),
    Bug("chat.py", "tokens[:, 1:].masked_fill(~learn[:, 1:], -100)", "tokens[:, 1:].masked_fill(~learn[:, :-1], -100)",
        "test_chat.py::test_the_loss_is_the_mean_over_the_tokens_that_are_learnt"),
    Bug("chat.py", "[True] * len(reply)", "[True] * (len(reply) - 1) + [False]",
        "test_chat.py::test_the_template_is_the_dialogue_and_only_answers_and_their_end_are_learnt"),
    Bug("chat.py", "row[1].extend(learn)", "row[1].extend(learn[::-1])",
        "test_chat.py::test_rows_hold_every_dialogue_once_and_whole"),
    Bug("chat.py", "return nats / math.log(2) / n_byte", "return nats / math.log(2) / sum(map(len, rows))",
        "test_chat.py::test_text_costs_its_bits"),
    Bug("chat.py", "row[:row.index(END)] if END in row else row", "row[:row.index(END) + 1] if END in row else row",
        "test_chat.py::test_what_is_written_ends_where_the_model_ends_it"),
    Bug("chat.py", "prompt(self.words, self.turns[first:], said)", "prompt(self.words, self.turns, said)",
        "test_chat.py::test_a_chat_forgets_the_oldest_turns_when_its_block_is_full"),
    Bug("text_to_image.py", "self.decoder(z / self.scale + self.shift)", "self.decoder(z * self.scale + self.shift)",
        "test_text_to_image.py::test_latents_have_deviation_one_and_the_scale_changes_no_picture"),
    Bug("text_to_image.py", "1 / z.std(1)", "1 / z.var(1)",
        "test_text_to_image.py::test_latents_have_deviation_one_and_the_scale_changes_no_picture"),
    Bug("text_to_image.py", '"loss": error + size * square', '"loss": error + size * square / 2',
        "test_text_to_image.py::test_the_loss_of_latents_is_that_of_a_vae_of_fixed_deviation"),
    Bug("text_to_image.py", "guided(self.network, context[i], null, guidance)",
        "guided(self.network, null, context[i], guidance)",
        "test_text_to_image.py::test_what_is_avoided_is_what_guidance_leads_away_from"),
    Bug("text_to_image.py", "words = drop_labels(words, torch.zeros_like(words[0]), drop)",
        "words = words * (torch.rand(words.shape) >= drop)",
        "test_text_to_image.py::test_a_tenth_of_the_captions_is_left_out_whole"),
    Bug("text_to_image.py", "self.shown[i].tolist()", "self.shown[i.sort().values].tolist()",
        "test_text_to_image.py::test_a_caption_stays_with_its_face_and_is_drawn_anew"),
    Bug("text_to_image.py", "attention_weights(q, k).mean(1)", "attention_weights(q, k).amax(1)",
        "test_text_to_image.py::test_maps_are_the_attention_of_the_full_size_blocks"),
    Bug("masked.py", "(_uniform(x, generator) >= share)", "(_uniform(x, generator) < share)",
        "test_masked.py::test_blank_pixels_are_as_many_as_asked_and_the_others_unchanged"),
    Bug("masked.py", "(u < share / 2).to(x), x)", "(u < share).to(x), x)",
        "test_masked.py::test_salt_is_as_frequent_as_pepper"),
    Bug("masked.py", "(rebuilt - x).square()", "(rebuilt - corrupt(x)).square()",
        "test_masked.py::test_the_denoising_loss_compares_with_the_clean_image"),
    Bug("masked.py", "y + noise**2 / total *", "y + std**2 / total *",
        "test_masked.py::test_of_one_gaussian_it_is_the_shrinkage_towards_the_mean"),
    Bug("masked.py", "(2 * total)).softmax(1)", "total).softmax(1)",
        "test_masked.py::test_it_is_the_integral_over_all_x"),
    Bug("masked.py", "- y) / noise**2", "- y) / noise",
        "test_masked.py::test_what_it_moves_is_the_score_of_the_noisy_density"),
    Bug("masked.py", ".argsort(1)[:, :n_keep]", ".mul(n_patch).long()[:, :n_keep]",
        "test_masked.py::test_the_kept_patches_are_different_and_all_equally_often"),
    Bug("masked.py", "x = torch.where(hide, mean, x)", "x = mean",
        "test_masked.py::test_copying_neighbours_continues_a_slope"),
    Bug("masked.py", "expand(-1, -1, h.shape[2]))  # hidden", "expand(-1, -1, h.shape[2])) + h.mean(1, True)  # hidden",
        "test_masked.py::test_what_is_hidden_cannot_be_seen"),
    Bug("masked.py", ".scatter(1, kept, h)", ".scatter(1, kept.flip(1), h)",
        "test_masked.py::test_a_description_goes_back_to_the_place_that_it_came_from"),
    Bug("masked.py", "(error * hide).sum() / hide.sum()", "error.mean()",
        "test_masked.py::test_the_loss_counts_hidden_patches_only"),
    Bug("masked.py", "torch.where(hidden_pixels(x, kept, self.config.patch), guess, x)", "guess",
        "test_masked.py::test_filling_in_leaves_what_was_seen"),
    Bug("masked.py", "sums / count.clamp(min=1), centres)", "sums, centres)",
        "test_masked.py::test_the_alphabet_is_the_fixed_point_of_k_means"),
    Bug("masked.py", "(surprise * hide).sum() / hide.sum()", "surprise.mean()",
        "test_masked.py::test_the_loss_of_letters_is_their_surprise"),
    Bug("masked.py", "kept = torch.cat([kept, places], dim=1)", "pass",
        "test_masked.py::test_in_one_round_letters_do_not_know_of_each_other"),
    Bug("masked.py", "/ temperature).softmax(2)", "* temperature).softmax(2)",
        "test_masked.py::test_a_low_temperature_draws_the_most_probable_letter"),
    Bug("masked.py", "filters - filters.mean((2, 3), keepdim=True)", "filters",
        "test_masked.py::test_random_filters_are_a_convolution_a_relu_and_a_mean"),
    Bug("masked.py", "[:n // len(known)] for k", "[:n] for k", "test_masked.py::test_labels_are_shared_equally"),
    Bug("masked.py", "LogisticRegression(C=C,", "LogisticRegression(C=1 / C,",
        "test_masked.py::test_a_probe_is_logistic_regression_on_centred_and_scaled_descriptions"),
    Bug("clip.py", "(F.cross_entropy(logits, own) + F.cross_entropy(logits[:, :len(a)].T, own)) / 2",
        "F.cross_entropy(logits, own)",
        "test_clip.py::test_it_is_the_mean_of_a_cross_entropy_over_rows_and_one_over_columns"),
    Bug("clip.py", "~diagonal, -math.inf)", "~diagonal, 0.0)",
        "test_clip.py::test_equal_captions_are_no_negatives"),
    Bug("clip.py", "same & ~diagonal", "same", "test_clip.py::test_equal_captions_are_no_negatives"),
    Bug("clip.py", "(words > 0).to(vectors)", "(words >= 0).to(vectors)",
        "test_clip.py::test_vectors_have_length_one_and_a_text_is_the_mean_of_its_words"),
    Bug("clip.py", ".clamp(max=math.log(100))", "",
        "test_clip.py::test_vectors_have_length_one_and_a_text_is_the_mean_of_its_words"),
    Bug("clip.py", "wrong[wrong.any(1)]", "wrong",
        "test_clip.py::test_a_hard_negative_stands_in_the_choice_of_every_picture_where_there_is_one"),
    Bug("clip.py", "equal_rows(words, choices) if mask", "torch.zeros(len(words), len(choices)).bool() if mask",
        "test_clip.py::test_a_hard_negative_that_is_another_picture_s_caption_is_none"),
    Bug("clip.py", "(a @ b.T).argmax(1)", "(a @ b.T).argmax(0)",
        "test_clip.py::test_recall_is_the_share_of_own_partners_found"),
    Bug("clip.py", "generator.set_state(state)", "pass", "test_clip.py::test_prompts_differ_only_in_the_value"),
    Bug("clip.py", ".mean(0) for captions in told", "[0] for captions in told",
        "test_clip.py::test_the_class_of_a_picture_has_the_mean_vector_most_like_it"),
    Bug("clip.py", "ATTRIBUTES[first].index(b), ATTRIBUTES[second].index(a)", "ATTRIBUTES[first].index(b), row[j]",
        "test_clip.py::test_two_colours_change_places_where_they_can"),
    Bug("clip.py", "(ahead.abs() <= 1e-6).double() / 2", "(ahead.abs() <= 1e-6).double()",
        "test_clip.py::test_a_bag_of_words_is_at_chance_on_hard_pairs"),
    Bug("clip.py", "caption(row, told) for row in rows]", "caption(rows[0], told) for row in rows]",
        "test_clip.py::test_batches_hold_captions_of_their_own_faces"),
    Bug("unclip.py", "self.clip.image(x) * math.sqrt(self.clip.config.n_embd)", "self.clip.image(x)",
        "test_unclip.py::test_vectors_are_those_of_clip_and_as_long_as_noise"),
    Bug("unclip.py", "unflatten(1, (self.n_token, -1))", "unflatten(1, (-1, self.n_token)).mT",
        "test_unclip.py::test_a_decoder_is_a_unet_that_looks_at_words_made_of_the_vector"),
    Bug("unclip.py", "drop_labels(y, torch.zeros_like(y[0]), drop)", "y",
        "test_unclip.py::test_a_tenth_of_the_vectors_is_left_out_whole"),
    Bug("unclip.py", "return F.normalize(z, dim=1) * math.sqrt(z.shape[1])", "return z",
        "test_unclip.py::test_a_prior_whose_roads_end_at_the_caption_imagines_it"),
    Bug("unclip.py", "torch.zeros_like(y[:1]), scale)", "torch.ones_like(y[:1]), scale)",
        "test_unclip.py::test_guidance_leads_away_from_no_picture"),
    Bug("unclip.py", "-forward(x, 1 - t)", "-forward(x, t)",
        "test_unclip.py::test_the_road_back_leads_to_the_noise_that_it_came_from"),
    Bug("unclip.py", "((1 - share) * angle).sin() * a", "(1 - share) * a",
        "test_unclip.py::test_an_arc_keeps_the_length_and_is_walked_evenly"),
    Bug("unclip.py", "difference = (new - old)", "difference = (old - new)",
        "test_unclip.py::test_what_all_captions_have_in_common_is_in_no_difference"),
    Bug("lora.py", "self.strength * self.scale * (self.up", "self.strength * (self.up",
        "test_lora.py::test_the_change_is_a_path_of_two_thin_layers_beside_the_old_one"),
    Bug("lora.py", "torch.zeros(n_out, rank, device", "torch.ones(n_out, rank, device",
        "test_lora.py::test_the_change_is_a_path_of_two_thin_layers_beside_the_old_one"),
    Bug("lora.py", "p.requires_grad_(p in added)", "p.requires_grad_(True)",
        "test_lora.py::test_only_what_was_added_is_trained_and_it_is_counted"),
    Bug("lora.py", "part.strength = old", "part.strength = value",
        "test_lora.py::test_the_switch_is_set_back_also_after_an_error"),
    Bug("lora.py", "leave_parametrized=True", "leave_parametrized=False",
        "test_lora.py::test_the_change_is_a_path_of_two_thin_layers_beside_the_old_one"),
    Bug("lora.py", "model.vocabulary.index(like)]", "0]",
        "test_lora.py::test_a_new_word_is_one_vector_and_changes_no_caption_without_it"),
    Bug("lora.py", "if found != c.base_sha256", "if False",
        "test_lora.py::test_an_adapter_comes_back_from_a_file_and_belongs_to_one_model"),
    Bug("lora.py", 'if ".parametrizations." not in name or', "if True or",
        "test_lora.py::test_a_fingerprint_does_not_see_what_was_added"),
    Bug("lora.py", "z = torch.cat([z, others[i.to(others.device)]])", "z = torch.cat([z, others[:len(i)]])",
        "test_lora.py::test_a_batch_holds_as_many_of_the_others_as_of_him"),
    Bug("data/person.py", "(near & own).sum((1, 2)) / own", "near.sum((1, 2)) / own",
        "test_lora.py::test_likeness_counts_pixels_by_hand"),
    Bug("data/person.py", "int(k) if name in WORN else UNSAID", "int(k)",
        "test_lora.py::test_captions_of_the_person_name_him_and_what_he_wears_only"),
    Bug("classroom/inside.py", "check.outcome(fn, case,", "check.outcome(check.right, case,",
        "test_grading.py::test_a_wrong_answer_is_told_outside"),
    Bug("classroom/trial.py", "if not q.check.same(found, want):", "if not found:",
        "test_grading.py::test_a_wrong_answer_is_told_outside"),
    Bug("classroom/markup.py", "escape=True", "escape=False",
        "test_grading.py::test_html_in_a_students_text_becomes_text"),
    Bug("classroom/sandbox.py", "(EQUAL, 0, 4, CLONE[column]), first,", "(EQUAL, 0, 3, CLONE[column]), first,",
        "test_grading.py::test_the_filter_refuses_what_it_names_and_nothing_else[aarch64-63]"),
    Bug("classroom/sandbox.py", "wall = seconds / ASLEEP if working", "wall = seconds if working",
        "test_grading.py::test_a_busy_machine_costs_no_time_and_sleeping_does"),
    Bug("classroom/sandbox.py", "and (path / MARK).is_file()", "",
        "test_grading.py::test_only_folders_with_our_mark_are_swept_away"),
    Bug("classroom/grading.py", 'unicodedata.normalize("NFC", entry.name if is_folder else entry.stem)',
        "entry.name if is_folder else entry.stem",
        "test_grading.py::test_a_notebook_is_found_under_any_name_that_a_system_gives_it"),
    Bug("expect.py", "-1e-4 <= low and high <= 1 + 1e-4", "True",
        "test_expect.py::test_a_range_that_is_no_probability_is_named"),
    Bug("expect.py", "t.shape != first.shape or ", "", "test_expect.py::test_nothing_is_broadcast_in_silence"),
    Bug("expect.py", "if low < 0 or n and high >= n:", "if False:",
        "test_expect.py::test_a_type_works_or_is_named"),
    Bug("train.py", "above(0, clip=clip)", "pass",
        "test_expect.py::test_a_setting_that_no_training_can_follow_is_named"),
    Bug("diffusion.py", "(math.sqrt(a) or TRACE)", "(math.sqrt(a) or 1e-30)",
        "test_expect.py::test_a_schedule_may_end_in_zero_and_begin_with_one"),
    Bug("diffusion.py", "T - 1 - i * T // steps", "T - 1 - i * (T // steps)",
        "test_expect.py::test_times_are_spread_evenly_also_where_their_number_does_not_divide"),
    Bug("transformer.py", "after = F.pad(same, (1, 0))[..., :-1]", "after = same",
        "test_transformer.py::test_the_induction_score_of_heads_that_are_written_by_hand"),
    Bug("data/prompts.py", "torch.rand(n, 1, generator=generator) < share",
        "torch.rand(n, 1, generator=generator) > share",
        "test_prompts.py::test_a_share_of_the_rows_has_the_map_that_is_given"),
    Bug("data/prompts.py", "== keys[:, None]).tril(-1)", "== keys[:, None]).tril()",
        "test_prompts.py::test_shots_counts_what_stood_before"),
    Bug("data/prompts.py", "        carry = both // 10\n", "",
        "test_prompts.py::test_the_steps_of_a_sum_are_true_and_carry"),
    Bug("data/prompts.py", "idx[i, at:at + len(piece)], learn[i, at:at + len(piece)] = piece, answer",
        "idx[i, at:at + len(piece)], learn[i, at:at + len(piece)] = piece, True",
        "test_prompts.py::test_rows_are_filled_up_and_only_answers_are_learnt"),
    Bug("data/prompts.py", 'if marks == "[]" and r.random()', "if r.random()",
        "test_prompts.py::test_a_row_of_training_is_answered_right_and_only_brackets_hold_instructions"),
    Bug("transformer.py", ".softmax(-1).masked_fill(nowhere, 0)", ".softmax(-1)",
        "test_expect.py::test_a_query_that_may_look_nowhere_finds_nothing_as_in_pytorch"),
    Bug("checkpoint.py", "raise ValueError(f\"{str(path)!r} must end", "print(f\"{str(path)!r} must end",
        "test_expect.py::test_what_could_not_be_read_again_is_not_written"),
    Bug("device.py", "            part.training = training", "            pass",
        "test_expect.py::test_an_interruption_leaves_every_part_in_its_mode"),
    Bug("decoding.py", "(logits - highest) / max(temperature, 1e-30)", "logits / temperature",
        "test_expect.py::test_a_temperature_near_zero_takes_the_most_probable_token"),
    Bug("gpt.py", "0.02 / math.sqrt(2 * c.n_layer)", "0.02",
        "test_expect.py::test_the_last_matrix_of_a_branch_begins_smaller_with_the_number_of_branches"),
    Bug("vae.py", "- kl_to_standard_normal(mu, logvar)", "- kl_to_standard_normal(mu.detach(), logvar)",
        "test_expect.py::test_the_gradient_of_the_bound_is_that_of_its_closed_form"),
    Bug("checks/unclip.py", "((first(share) * w).sin() * a", "((second(share) * w).sin() * a",
        "test_checks.py::test_a_right_answer_is_accepted_however_it_is_written[along_the_arc: right0]"),
    Bug("checks/instruction_tuning.py", "(-log_p * mask).sum() / mask.sum()", "(-log_p * mask).mean()",
        "test_checks.py::test_each_slip_is_told_from_all_others[masked_loss]"),
    Bug("checks/prompting.py", "F.pad(same.int(), (shift, -shift))", "F.pad(same.int(), (1, -1))",
        "test_checks.py::test_each_slip_is_told_from_all_others[score_of_heads]"),
    Bug("checks/text_to_image.py", "residual * x + keep * of(x, W_own)", "keep * of(x, W_own)",
        "test_checks.py::test_each_slip_is_told_from_all_others[with_right]"),
    Bug("checks/clip.py", "weight * sum(reduce(", "sum(reduce(",
        "test_checks.py::test_each_slip_is_told_from_all_others[info_nce]"),
]


def copy_with(bug: Bug | None, folder: Path) -> None:
    """course_lib with one bug, or none, in `folder`. Raises ValueError unless the code to replace is there once.

    With a bug in a check come the checks of its exercise alone (and those of the first): test_checks.py has a hundred
    tests for each exercise, which pytest would collect for every bug."""
    checks = {"__init__.py", "start_here.py", Path(bug.module).name} if bug and bug.module.startswith("checks/") else ()

    def left_out(where, names):
        return {name for name in names if name == "__pycache__" or checks and Path(where).name == "checks"
                and name not in checks}

    shutil.copytree(ROOT / "course_lib", folder / "course_lib", ignore=left_out)
    if bug:
        file = folder / "course_lib" / bug.module
        text = file.read_text(encoding="utf-8")
        if text.count(bug.code) != 1:
            raise ValueError(f"course_lib/{bug.module} holds {text.count(bug.code)} times, and not once: {bug.code!r}")
        file.write_text(text.replace(bug.code, bug.broken), encoding="utf-8")


class Reds:
    """A pytest plugin that keeps which tests failed while they ran, and one line of why."""

    def __init__(self):
        self.found, self.n_passed = {}, 0

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.failed:
            self.found[report.nodeid] = report.longrepr.reprcrash.message.splitlines()[0]
        self.n_passed += report.when == "call" and report.passed


def test_copy(folder: str, tests: list[str]) -> dict:
    """Run tests with the course_lib in `folder`, in this process: exit code, which went red and why."""
    import pytest

    os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])   # for kernels and children
    sys.path.insert(0, folder)
    import course_lib  # from now on its modules come from the same folder

    if not Path(course_lib.__file__).is_relative_to(folder):
        raise RuntimeError(f"course_lib was imported from {course_lib.__file__}")
    reds = Reds()
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        code = pytest.main(["-x", "-q", "--tb=native", "--assert=plain", "-c", str(ROOT / "pyproject.toml"), *tests],
                           plugins=[reds])         # quick: no test is written anew, and nobody reads the traceback
    return dict(code=int(code), red=reds.found, passed=reds.n_passed)


test_copy.__test__ = False                         # a function, and no test


def in_a_process(folder: str, tests: list[str]) -> dict:
    """`test_copy` in a process of its own: a fork of this one on Linux."""
    answer = Path(folder) / "answer.json"
    if sys.platform == "linux":
        if not (child := os.fork()):
            try:
                answer.write_text(json.dumps(test_copy(folder, tests)))
            except BaseException:                  # no way back into the server's loop from here
                traceback.print_exc()
            os._exit(0)
        os.waitpid(child, 0)
    else:
        subprocess.run([sys.executable, __file__, "--one", folder, *tests], timeout=SECONDS, stdout=subprocess.DEVNULL)
    return json.loads(answer.read_text()) if answer.exists() else dict(code=-1, red={}, passed=0)


def serve() -> None:
    """One request a line: [folder, test, ...]; one answer a line."""
    for name in WARM:
        importlib.import_module(name)
    gc.freeze()                                    # pytest collects garbage often; what is here now is none
    for line in sys.stdin:
        folder, *tests = json.loads(line)
        print(json.dumps(in_a_process(folder, tests)), flush=True)


class Server:
    """The warm process, asked through its pipes."""

    def __enter__(self):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(
            [str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self.process = subprocess.Popen([sys.executable, __file__, "--serve"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(SECONDS)
        self.process.stdout.close()

    def try_out(self, bug: Bug | None, *tests: str) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            copy_with(bug, Path(folder))
            self.process.stdin.write(json.dumps([folder, *(str(ROOT / "tests" / test) for test in tests)]) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve()
    elif sys.argv[1:2] == ["--one"]:
        Path(sys.argv[2], "answer.json").write_text(json.dumps(test_copy(sys.argv[2], sys.argv[3:])))
    else:
        with Server() as server:
            for bug in BUGS:
                if all(word in bug.red for word in sys.argv[1:]):
                    answer = server.try_out(bug, bug.red)
                    print(f"{bug}\n    {answer}", flush=True)
