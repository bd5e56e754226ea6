"""Shape annotations: `Float[Tensor, "b n d"]` reads as documentation and is checked in tests.

jaxtyping is a development dependency; where it is not installed the annotations mean just `Tensor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped
else:
    try:
        from jaxtyping import Bool, Float, Int, Shaped
    except ImportError:

        class Shaped:
            """A stand-in for any jaxtyping dtype: subscripting it gives back the array type."""

            def __class_getitem__(cls, item):
                return item[0]

        Bool = Float = Int = Shaped

__all__ = ["Bool", "Float", "Int", "Shaped", "Tensor"]
