"""A small convolutional network for 28x28 digits: the judge that measures every generator of this course.
Two convolutions, halve the picture, two more with twice the channels, halve it; a linear layer sums up what is left."""

from dataclasses import dataclass

from torch import Tensor, nn

from course_lib.expect import floats, sizes


@dataclass
class ConvNetConfig:
    n_channel: int = 32                        # width of the first two convolutions; the next two have twice as many
    n_feature: int = 64                        # length of the description that `features` returns
    n_class: int = 10
    dropout: float = 0.2                       # on the features, in training only


def conv_block(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU.  (B, c_in, H, W) -> (B, c_out, H / stride, W / stride), kernel odd"""
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False),
                         nn.BatchNorm2d(c_out), nn.ReLU())                 # the norm has a bias of its own


class ConvNet(nn.Module):
    """Grey 28x28 images in [0, 1] -> logits of n_class classes.  (B, 1, 28, 28) -> (B, n_class)"""

    def __init__(self, config: ConvNetConfig):
        super().__init__()
        sizes(config)
        self.config, c = config, config.n_channel
        self.convs = nn.Sequential(
            conv_block(1, c, kernel=5, stride=2), conv_block(c, c), nn.MaxPool2d(2),        # (B, c, 7, 7)
            conv_block(c, 2 * c), conv_block(2 * c, 2 * c), nn.MaxPool2d(2),                # (B, 2c, 3, 3)
        )
        self.embed = nn.Sequential(nn.Flatten(), nn.Linear(2 * c * 3 * 3, config.n_feature, bias=False),
                                   nn.BatchNorm1d(config.n_feature), nn.ReLU())
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.n_feature, config.n_class)

    def features(self, x: Tensor) -> Tensor:
        """The penultimate layer, after its ReLU: the space in which sets of images are compared.

        (B, 1, 28, 28) float in [0, 1] -> (B, n_feature), all >= 0.  Raises ValueError for another shape or dtype.
        """
        x = floats(x, 1, 28, 28, like=self.head.weight)
        return self.embed(self.convs(x))                          # (B, n_feature)

    def forward(self, x: Tensor) -> Tensor:                       # (B, 1, 28, 28)
        return self.head(self.dropout(self.features(x)))          # (B, n_class)
