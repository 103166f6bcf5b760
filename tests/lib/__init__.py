"""What the tests share: a binding, a tree camera, the seam, the helper, images."""

from . import xattrs

xattrs.complete()
