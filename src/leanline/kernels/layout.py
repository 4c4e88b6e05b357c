"""Where the pixels of planes lie in a buffer."""

from dataclasses import dataclass

from leanline.kernels.program import PlaneProgram


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of a plane lie in the buffer of one image (all in floats).

    Rows keep a distance that is no power of two, planes a small skew, so that the rows which a
    tile reads together do not fall into the same cache sets.
    """

    height: int
    width: int
    halo: int

    @property
    def lead(self) -> int:
        """Floats left of a row, a multiple of a cache line."""
        return -(-self.halo // 16) * 16

    @property
    def stride(self) -> int:
        """Floats from one row to the next."""
        stride = -(-self.width // 16) * 16 + 2 * self.lead
        return stride + 16 if stride % 256 == 0 else stride

    @property
    def origin(self) -> int:
        """Offset of pixel (0, 0) inside a plane."""
        return self.halo * self.stride + self.lead

    @property
    def pitch(self) -> int:
        """Floats from one plane to the next."""
        return (self.height + 2 * self.halo) * self.stride + 16

    def size(self, planes: int) -> int:
        """Floats of a buffer of ``planes`` planes, with room for tiles that read past the end."""
        return planes * self.pitch + (6 * self.halo + 1) * self.stride + 256

    @staticmethod
    def of(program: PlaneProgram, height: int, width: int) -> "Geometry":
        """The layout of a program at a picture size.

        A filled border needs twice the reach: the gradient is computed on the border too.
        """
        reach = 1 if program.padding == "zeros" else 2
        return Geometry(height, width, reach * program.border)
