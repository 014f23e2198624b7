# %% [markdown]
# # Symbols
#
# What the letters in the formulas mean, in the order in which the lessons introduce them. Where the field uses one letter for
# two things, so do we, and it stands here twice. Names that only one example needs are not listed. The name that a symbol has in
# code stands in brackets, where it is not the letter itself.
#
# ## Learning, classifiers, Gaussians
#
# | symbol | meaning | shape or range | lesson |
# |---|---|---|---|
# | $x$, $y$ | an input and the output that is wanted; from lesson 11 on an image and its label; in 72 a picture and its caption's vector, in 74 a question and an answer | images (N, 1, 28, 28), labels 0 … 9 | [00](00_start_here.ipynb) |
# | $\hat y$ | a hat: the guess of what stands below it | as that | [00](00_start_here.ipynb) |
# | $\theta$ | all parameters of a model | one long vector | [00](00_start_here.ipynb) |
# | $w$, $W_1$, $b$ | parameters: weights, a matrix of weights, offsets (biases) | | [00](00_start_here.ipynb) |
# | $L(\theta)$ | the loss, which training makes small | a number | [00](00_start_here.ipynb) |
# | $\nabla$ | the gradient: the derivatives by all numbers of what follows or stands below it | as those | [00](00_start_here.ipynb) |
# | $\eta$ | learning rate (`eta`, `lr`) | > 0 | [00](00_start_here.ipynb) |
# | $i$, $n$ | count: example number $i$, a sample of $n$ | 1, 2, 3 … | [00](00_start_here.ipynb) |
# | $N$ | number of training examples | | [00](00_start_here.ipynb) |
# | $X$ | all inputs, one in each row | (N, D) | [00](00_start_here.ipynb) |
# | $p$ | a probability, or the density of a continuous number | 0 … 1, or ≥ 0 | [00](00_start_here.ipynb) |
# | $p(y \mid x)$ | the probability of $y$ when $x$ is given | 0 … 1 | [00](00_start_here.ipynb) |
# | $a$ | logit: the number that sigmoid or softmax turns into a probability (`logits`) | any number | [00](00_start_here.ipynb) |
# | $\sigma(a)$ | the sigmoid, $1 / (1 + e^{-a})$ | 0 … 1 | [00](00_start_here.ipynb) |
# | $\log$ | the natural logarithm; surprise in nats. Divided by $\log 2$ it is in bits | | [00](00_start_here.ipynb) |
# | $h$ | hidden numbers inside a network, its units (`h`, `features`) | (N, …) | [00](00_start_here.ipynb) |
# | $q$ | the share of right answers, whose standard error is $\sqrt{q(1-q)/n}$ | 0 … 1 | [00](00_start_here.ipynb) |
# | $X^\top$ | transposed: rows become columns | | [00](00_start_here.ipynb) |
# | $D$ | how many numbers a vector has: pixels (11), axes (13), numbers of a code (31), entries of a query (51) | 784, 50, 8 … | [11](11_softmax_and_mlp.ipynb) |
# | $K$, $k$ | number of classes or of Gaussians, and one of them | 10; 0 … 9 | [11](11_softmax_and_mlp.ipynb) |
# | $\ell$ | the surprise $-\log p_y$ at one example, its cross-entropy | ≥ 0 nats | [11](11_softmax_and_mlp.ipynb) |
# | $[k = y]$ | 1 if the statement is true, else 0: the one-hot label | 0, 1 | [11](11_softmax_and_mlp.ipynb) |
# | $\partial$ | a partial derivative: one number changes, all others are held fixed | | [11](11_softmax_and_mlp.ipynb) |
# | $P$, $Y$ | probabilities and one-hot labels of all examples | (N, K) | [11](11_softmax_and_mlp.ipynb) |
# | $\lVert W \rVert$ | length: the root of the sum of all squares | ≥ 0 | [11](11_softmax_and_mlp.ipynb) |
# | $(B, C, H, W)$ | sizes: images in a batch, channels, height and width. As a size, $C$ is also the width of a transformer (51) | | [12](12_convnet.ipynb) |
# | $h_{ij}$ | the response of a filter at row $i$ and column $j$ | | [12](12_convnet.ipynb) |
# | $u$, $v$ | row and column in a filter | | [12](12_convnet.ipynb) |
# | $\tau$ | temperature: divides logits (12), multiplies noise (13, 41) (`tau`, `temperature`) | > 0, for noise also 0 | [12](12_convnet.ipynb) |
# | $S$ | the shift of an image by $d$ pixels | | [12](12_convnet.ipynb) |
# | $p(x \mid y)$ | the density of the images of class $y$ | ≥ 0 | [13](13_discriminative_vs_generative.ipynb) |
# | $\mu$, $\sigma^2$ | mean and variance of a normal distribution; $\sigma$ is its standard deviation (`mu`, `logvar` for $\log \sigma^2$) | numbers, or (B, D) | [13](13_discriminative_vs_generative.ipynb) |
# | $\Sigma$ | covariance matrix (`cov`) | (D, D) | [13](13_discriminative_vs_generative.ipynb) |
# | $\mathcal N(z; \mu, \Sigma)$ | the normal density with this mean and covariance (or variance) at $z$ | ≥ 0 | [13](13_discriminative_vs_generative.ipynb) |
# | $z$ | code, the few numbers an image is made from: coordinates on axes (13), output of an encoder (21, 31, 65), input of a generator (41), the vector of a picture (72) | (B, D) | [13](13_discriminative_vs_generative.ipynb) |
# | $\varepsilon$ | standard normal noise (`eps`, `noise`) | as $z$ or $x$ | [13](13_discriminative_vs_generative.ipynb) |
# | $L L^\top$ | a covariance taken apart into a triangular $L$ and its transpose (Cholesky) | (D, D) | [13](13_discriminative_vs_generative.ipynb) |
# | $w_k$, $\mu_k$ | share and mean of Gaussian number $k$ in a mixture | shares sum to 1 | [13](13_discriminative_vs_generative.ipynb) |
# | $r_{ik}$ | the probability that Gaussian $k$ made example $i$ | 0 … 1 | [13](13_discriminative_vs_generative.ipynb) |
#
# ## Autoencoders, VAEs, GANs
#
# | symbol | meaning | shape or range | lesson |
# |---|---|---|---|
# | $f$, $g$ | encoder and decoder; elsewhere $f$ is any function | image ↔ code | [21](21_autoencoder.ipynb) |
# | $\mathbb E$ | expectation: the mean over everything random in what follows, or over what stands below it | a number | [21](21_autoencoder.ipynb) |
# | $\lambda_{k+1}$ | an eigenvalue: the variance along a principal axis | ≥ 0, falling | [21](21_autoencoder.ipynb) |
# | $\tilde x$ | an input that was spoiled: noise on it, or parts hidden | as $x$ | [22](22_self_supervised.ipynb) |
# | $\sim$ | is sampled from | | [31](31_vae.ipynb) |
# | $\prod$ | product, as $\sum$ is the sum | | [31](31_vae.ipynb) |
# | $p(z)$ | the prior: where codes are sampled from | ≥ 0 | [31](31_vae.ipynb) |
# | $p(x \mid z)$ | what the decoder says about an image | ≥ 0 | [31](31_vae.ipynb) |
# | $q(z \mid x)$ | the encoder's guess at the code, a density | ≥ 0 | [31](31_vae.ipynb) |
# | $q(z)$ | the aggregated posterior, the mean of $q(z \mid x)$ over all images | ≥ 0 | [31](31_vae.ipynb) |
# | $\mathcal N(0, I)$ | the standard normal density: $I$, the identity matrix, says that all numbers are independent and have variance 1 | ≥ 0 | [31](31_vae.ipynb) |
# | $\mathrm{KL}(q \Vert p)$ | Kullback–Leibler divergence, how far $q$ is from $p$ | ≥ 0 nats | [31](31_vae.ipynb) |
# | $\mathrm{ELBO}$ | evidence lower bound, at most $\log p(x)$ | nats | [31](31_vae.ipynb) |
# | $\beta$ | weight of the KL term (`beta`) | 0 … 1 | [31](31_vae.ipynb) |
# | $e_k$ | code number $k$ of a codebook, a vector (`codes`, `codebook`) | (D,) | [33](33_vq_vae.ipynb) |
# | $\mathrm{sg}$ | stop gradient: the value of what follows, without its gradient (`detach`) | as that | [33](33_vq_vae.ipynb) |
# | $\beta$ | weight of the commitment (`beta`) | 0.25 | [33](33_vq_vae.ipynb) |
# | $\gamma$ | decay: how much of their weight earlier batches keep (`decay`) | 0 … 1 | [33](33_vq_vae.ipynb) |
# | $\exp H$ | perplexity: how many codes are in use; $H$ is the entropy of their shares, $-\sum_k p_k \log p_k$ | 1 … K | [33](33_vq_vae.ipynb) |
# | $G(z)$ | generator | image | [41](41_gan.ipynb) |
# | $D(x)$ | discriminator: the probability that $x$ is real, $\sigma(a)$ of its logit | 0 … 1 | [41](41_gan.ipynb) |
# | $p_\text{data}$ | the density of real images, which nobody knows | ≥ 0 | [41](41_gan.ipynb) |
# | $q(x)$ | the density of the fakes | ≥ 0 | [41](41_gan.ipynb) |
# | $\mathrm{JS}(p, q)$ | Jensen–Shannon divergence | 0 … log 2 nats | [41](41_gan.ipynb) |
# | $R_1$ | the penalty for a steep discriminator | ≥ 0 | [41](41_gan.ipynb) |
# | $\bar p_k$ | a bar: the mean of what stands below it; but see $\bar\alpha_t$ | as that | [41](41_gan.ipynb) |
# | $e^H$ | the number of classes in use, as $\exp H$ in lesson 33 | 1 … 10 | [41](41_gan.ipynb) |
#
# ## Attention and language models
#
# | symbol | meaning | shape or range | lesson |
# |---|---|---|---|
# | $t$, $s$ | places in a sequence: who looks, and who is looked at | 0 … T − 1 | [51](51_attention.ipynb) |
# | $x_t$ | the vector of the token at place $t$ | (D,) | [51](51_attention.ipynb) |
# | $T$ | length of a sequence; of a film, its frames (78) | | [51](51_attention.ipynb) |
# | $q_t$, $k_s$, $v_s$ | query, key and value of a token; the rows of $Q$, $K$, $V$ | (T, D) all together | [51](51_attention.ipynb) |
# | $A$ | attention weights, each row sums to 1 | (T, T) | [51](51_attention.ipynb) |
# | $\omega$ | the speed of a sine in the encoding of positions | > 0 | [51](51_attention.ipynb) |
# | $p(x_t \mid x_1, \dots, x_{t-1})$ | the probability of the next token, given all before it | 0 … 1 | [54](54_gpt.ipynb) |
# | $p(c \mid h)$ | the probability of the letter $c$ after the letters $h$ | 0 … 1 | [54](54_gpt.ipynb) |
# | $\binom{16}{k}$ | in how many ways $k$ things can be chosen from 16 | 1, 16, 120 … | [56](56_everything_is_a_token.ipynb) |
#
# ## Diffusion and flow matching
#
# | symbol | meaning | shape or range | lesson |
# |---|---|---|---|
# | $x_0$ | a clean image, or a clean point (`x0`) | grey values −1 … 1 | [61](61_ddpm.ipynb) |
# | $x_t$ | the same after $t$ steps of noise; in lesson 64, at the time $t$ between noise, 0, and image, 1 | as $x_0$ | [61](61_ddpm.ipynb) |
# | $\beta_t$, $\alpha_t$ | the variance of the noise that step $t$ adds, and $1 - \beta_t$ (`betas`) | 0 … 1 | [61](61_ddpm.ipynb) |
# | $\bar\alpha_t$ | the product of all $\alpha$ up to $t$: the share of the image's variance that is left (`a`, `a_bar`, `alphas_cumprod`) | 1 … 0, (T,) | [61](61_ddpm.ipynb) |
# | $T$ | the number of steps of noise | | [61](61_ddpm.ipynb) |
# | $\varepsilon_\theta(x_t, t)$ | the network's guess of the noise | as $x_t$ | [61](61_ddpm.ipynb) |
# | $\hat\varepsilon$, $\hat x_0$ | the guesses of noise and image that a sampler works with | as $x_t$ | [61](61_ddpm.ipynb) |
# | $p_t$ | the density of $x_t$ | ≥ 0 | [61](61_ddpm.ipynb) |
# | $\propto$ | in proportion to: equal but for a constant factor | | [61](61_ddpm.ipynb) |
# | $\nabla_{x_t} \log p_t(x_t)$ | the score: where noisy data are more probable | as $x_t$ | [61](61_ddpm.ipynb) |
# | $\rho$ | the standard deviation of each Gaussian on the ring (`std`) | 0.2 | [61](61_ddpm.ipynb) |
# | $\tilde\mu$, $\tilde\beta$ | mean and variance of one step back | as $x_t$; a number | [61](61_ddpm.ipynb) |
# | $\delta$ | how wrong a network's answer is | | [61](61_ddpm.ipynb) |
# | $v$ | noise and image mixed, as the target of a network | as $x_t$ | [61](61_ddpm.ipynb) |
# | $\varnothing$ | the empty label (`null`, 10 for digits) | | [63](63_guidance.ipynb) |
# | $s$ | scale of guidance (`scale`, `guidance`) | 0, 1, 1.5 … | [63](63_guidance.ipynb) |
# | $v_\text{weak}$, $\hat v$ | what a weaker network answers, and the answer that walks away from it | as $x_t$ | [63](63_guidance.ipynb) |
# | $v_\theta(x_t, t)$, $v(x_t, t)$ | the network's velocity, and the mean velocity that it should learn | as $x_t$ | [64](64_flow_matching.ipynb) |
# | $\alpha(t)$, $\sigma(t)$ | how much of the image and of the noise a road has at the time $t$ | 0 … 1, 1 … 0 | [64](64_flow_matching.ipynb) |
# | $x_1 - x_0$ | from the beginning of a path (noise) to its end (image) | as $x_t$ | [64](64_flow_matching.ipynb) |
# | $\varphi$ | the angle on the quarter circle, the road of $v$ | 0 … π/2 | [64](64_flow_matching.ipynb) |
# | $S$ | straightness of paths, 0 if they are straight | ≥ 0 | [64](64_flow_matching.ipynb) |
#
# ## Pictures and words
#
# | symbol | meaning | shape or range | lesson |
# |---|---|---|---|
# | $z_t$ | a latent on its road from noise, at time 0, to the picture's, at time 1 | as $z$ | [65](65_text_to_image.ipynb) |
# | $a_i$, $b_j$ | the vectors of picture $i$ and of caption $j$, of length 1 (`a`, `b`) | (64,) | [71](71_clip.ipynb) |
# | $a_i \cdot b_j$ | their product, which for vectors of length 1 is the cosine of their angle | −1 … 1 | [71](71_clip.ipynb) |
# | $s$ | the scale that multiplies cosines, one over the temperature (`scale`) | 1 … 100 | [71](71_clip.ipynb) |
# | $\log B - I$ | what InfoNCE cannot fall below: the batch size $B$, and $I$, the mutual information of picture and caption in nats | | [71](71_clip.ipynb) |
# | $J$ | which caption of a batch is the right one | 1 … $B$ | [71](71_clip.ipynb) |
#
# ## Preferences
#
# | symbol | meaning | shape or range | lesson |
# |---|---|---|---|
# | $\pi(y)$ | the policy: the probability with which it answers $y$ (`policy`) | 0 … 1 | [74](74_preferences.ipynb) |
# | $\pi_\text{ref}$, $\pi^*$ | the policy that training begins with, and the best one under a price for distance (`ref`, `best`) | 0 … 1 | [74](74_preferences.ipynb) |
# | $r(y)$ | the reward of an answer | any number | [74](74_preferences.ipynb) |
# | $J(\pi)$ | mean reward less $\beta$ for each nat of distance from $\pi_\text{ref}$ | any number | [74](74_preferences.ipynb) |
# | $\beta$ | the price of a nat of distance from $\pi_\text{ref}$ (`beta`) | > 0 | [74](74_preferences.ipynb) |
# | $u(y)$ | what people go by when they compare answers | any number | [74](74_preferences.ipynb) |
# | $b$ | baseline: what is subtracted from rewards | any number | [74](74_preferences.ipynb) |
# | $n$ | how many answers are sampled, of which the best is kept | 1, 2, 4 … | [74](74_preferences.ipynb) |
#
# ## Using and judging
#
# | symbol | meaning | shape or range | lesson |
# |---|---|---|---|
# | $\mu_t$, $\sigma_t^2$ | mean and variance after $t$ rounds of models that learn from each other's samples | numbers | [81](81_synthetic_data.ipynb) |
# | $\hat p$ | the share in a sample of $n$, where $p$ is the share in the world | 0 … 1 | [82](82_bias.ipynb) |
# | $(\sum w)^2 / \sum w^2$ | effective size: how many samples of equal weight are as sure as those with weights $w$ | 1 … n | [82](82_bias.ipynb) |
# | $\gamma$ | the share of tokens that are green (`share`) | 0 … 1 | [84](84_watermarks.ipynb) |
# | $\delta$ | what is added to the logits of green tokens (`delta`) | ≥ 0 nats | [84](84_watermarks.ipynb) |
# | $g$ | the probability that a model without a mark gives to all green tokens | 0 … 1 | [84](84_watermarks.ipynb) |
# | $z$ | by how many standard deviations $k$ green tokens of $n$ are more than chance gives | any number | [84](84_watermarks.ipynb) |
# | $p(\text{fake})$ | the base rate: the share of fakes among all that is looked at | 0 … 1 | [85](85_detecting_fakes.ipynb) |
