"""Small, tested PyTorch implementations of what the notebooks teach. One idea, one file.

    classify      mlp  convnet  classify  augment  calibration
    draw images   gaussians  autoencoder  masked  vae  vqvae  gan  dcgan  diffusion  flow  unet  dit  pipeline
                  baselines  text_encoder  text_to_image  clip  unclip  tokens  video  lora
    write text    ngrams  transformer  gpt  decoding  chat  preferences  chorales
    make sounds   audio  sound_flow
    train         train  muon
    measure       metrics  leaderboard  reader  claims  listener  watermark  privacy  cost
    around them   data  checkpoint  checkpoints  device  expect  plots
    exercises     checks  classroom

Import from the file of the idea: `from course_lib.train import fit`. README.md beside this file names the
function, the lesson and the source of each idea.

What cannot work raises ValueError, in one line that holds the wrong number. A docstring speaks of errors where they are
others, or where the reason could surprise.
"""

__version__ = "0.1.0"
