"""TensorFlow's padding without shape arithmetic, so that exported graphs hold none."""

from typing import cast

from torch import Tensor, nn

from pipeline.backbones.work import Size


class SameConv2d(nn.Conv2d):
    """A strided convolution padded as TensorFlow does, for inputs that the stride divides.

    The padding then depends on kernel and stride alone (more on the far side), so an exported graph holds no shape
    arithmetic; timm computes it from the input at every call.
    """

    def __init__(self, like: nn.Conv2d) -> None:
        kernel, stride = like.kernel_size, like.stride
        channels = (like.in_channels, like.out_channels)
        super().__init__(*channels, cast(Size, kernel), cast(Size, stride), groups=like.groups, bias=False)
        self.weight, self.bias = like.weight, like.bias
        self.pad = self._padding()

    def dilate(self, stride: Size, dilation: Size) -> None:
        """Take another stride and dilation, padded as TensorFlow pads for those."""
        self.stride, self.dilation = stride, dilation
        self.pad = self._padding()

    def _padding(self) -> nn.ZeroPad2d:
        spans = ((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))
        rows, columns = (max(span - s, 0) for span, s in zip(spans, self.stride, strict=True))
        return nn.ZeroPad2d((columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.pad(input))


def make_padding_static(module: nn.Module) -> None:
    """Replace every timm `Conv2dSame` inside `module` by one whose padding is fixed."""
    for name, child in module.named_children():
        if type(child).__name__ == "Conv2dSame":
            setattr(module, name, SameConv2d(cast(nn.Conv2d, child)))
        else:
            make_padding_static(child)
