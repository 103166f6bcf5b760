"""What the tests share: a binding, a tree camera, the seam, the helper, images."""
